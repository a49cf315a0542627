-- Parks every user of the batch ($1 sources, $2 ids) for a target that is out of
-- service ($4 its name, $5 sqlstate, $6 error). $3: the users are locked; otherwise only
-- those count that this transaction wrote.
insert into rollcall.parked as p (target, source, user_id, retry_at, sqlstate, error)
select $4, b.source, b.id, pg_catalog.now() + interval '2 seconds', $5, $6
from unnest($1::text[], $2::text[]) as b (source, id)
cross join lateral (
  select from rollcall.users u
  where u.source = b.source and u.id = b.id and ($3::boolean or u.xmin = pg_catalog.pg_current_xact_id()::xid)
  offset 0
) held
order by b.source collate "C", b.id collate "C"
on conflict (source, user_id, target) do update set
  attempts = case when p.given_up then 1 else p.attempts end,
  retry_at = excluded.retry_at,
  sqlstate = excluded.sqlstate,
  error = excluded.error,
  given_up = false
