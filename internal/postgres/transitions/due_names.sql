-- Those of some notifications ($1 names) that are due, or are to be made of one of the oldest $2 transitions. Those that
-- nobody else wants are made by any of them, lest they hide what comes after.
select k.name
from pg_catalog.unnest($1::text[]) k (name)
where exists (
  select from rollcall.notifications n where n.name = k.name and n.state = 'pending' and n.due_at <= pg_catalog.clock_timestamp()
    and not exists (select from rollcall.notifiers p where p.name = k.name and p.paused_until > pg_catalog.clock_timestamp())
) or exists (
  select from (select t.names from rollcall.transitions t where t.names is not null order by t.id limit $2) t where k.name = any (t.names) or not t.names && $1::text[]
)
