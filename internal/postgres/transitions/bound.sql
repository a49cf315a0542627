-- Gives up the oldest pending notifications of each name, so that $1 are left, and returns how many.
with full_names as materialized (
  select name from rollcall.notifications where state = 'pending' group by name having pg_catalog.count(*) > $1::bigint
), over as materialized (
  select o.transition, o.name
  from full_names f
  cross join lateral (
    select n.transition, n.name from rollcall.notifications n where n.name = f.name and n.state = 'pending' order by n.transition desc offset $1::bigint
  ) o
), ended as (
  update rollcall.notifications n
  set state = 'failed', ended_at = pg_catalog.clock_timestamp(), error = 'given up: too many notifications waited'
  from over o where n.transition = o.transition and n.name = o.name and n.state = 'pending'
  returning n.name
)
select name, pg_catalog.count(*) from ended group by name
