-- Corrects the outcome of this transaction's own events ($1 sources, $2 ids, $3 user ids)
-- whose user it wrote into the roll, or has locked ($4).
update rollcall.events e set outcome = 'parked'
from unnest($1::text[], $2::text[], $3::text[]) as b (source, id, user_id)
cross join lateral (
  select from rollcall.users u
  where u.source = b.source and u.id = b.user_id and ($4::boolean or u.xmin = pg_catalog.pg_current_xact_id()::xid)
  offset 0
) written
where e.source = b.source and e.id = b.id and e.xmin = pg_catalog.pg_current_xact_id()::xid
