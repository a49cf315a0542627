-- Takes the bodies of this transaction's events ($1 sources, $2 ids, $3 users) that are about users who were
-- erased. Their rows of the roll are locked, in a statement before: an erasure comes before this, or sees the events.
-- Every batch runs it: while nobody has been erased, it looks at none of the events.
update rollcall.events e set body = null
from unnest($1::text[], $2::text[], $3::text[]) as b (source, id, user_id)
cross join lateral (
  select from rollcall.erased u where u.source = b.source and u.id = b.user_id offset 0
) erased
where (select exists (select from rollcall.erased))
  and e.source = b.source and e.id = b.id and e.xmin = pg_catalog.pg_current_xact_id()::xid
