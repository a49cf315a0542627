-- Makes notifications of transitions, $1 at most, and returns of how many.
with taken as materialized (
  select id, at, names from rollcall.transitions where names is not null order by id limit $1 for update skip locked
), freed as (
  update rollcall.transitions t set names = null from taken k where t.id = k.id
), made as (
  insert into rollcall.notifications (name, transition, noted_at)
  select n.name, k.id, k.at from taken k cross join lateral pg_catalog.unnest(k.names) n (name)
  on conflict (transition, name) do nothing
)
select pg_catalog.count(*) from taken
