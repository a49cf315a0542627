-- The sources ($1) of which an announced user is due to be looked up; for the first
-- time when $2 has passed.
select s.source
from pg_catalog.unnest($1::text[]) as s (source)
where exists (
  select from rollcall.events e
  where e.source = s.source and e.outcome = 'announced' and coalesce(e.look_at, e.received_at) <= pg_catalog.now()
    and (e.look_at is not null or e.received_at <= pg_catalog.now() - $2::interval)
)
