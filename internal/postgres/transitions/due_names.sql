-- Those of some notifications ($1 names) of which one is due.
select k.name
from pg_catalog.unnest($1::text[]) k (name)
where exists (
  select from rollcall.notifications n
  where n.name = k.name and n.state = 'pending' and n.due_at <= pg_catalog.clock_timestamp()
) and not exists (
  select from rollcall.notifiers p where p.name = k.name and p.paused_until > pg_catalog.clock_timestamp()
)
