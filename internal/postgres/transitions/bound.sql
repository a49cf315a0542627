-- Gives up pending notifications, $3 at most: of each name the oldest, so that $1 are left, and those that have waited
-- for $2. It returns how many.
with full_names as materialized (
  select name from rollcall.notifications where state = 'pending' group by name
  having pg_catalog.count(*) > $1::bigint or pg_catalog.min(noted_at) < pg_catalog.now() - $2::interval
), over as materialized (
  select o.transition, o.name, o.newer >= $1::bigint as beyond
  from full_names f
  cross join lateral (
    select n.transition, n.name, n.noted_at, pg_catalog.row_number() over (order by n.transition desc) - 1 as newer
    from rollcall.notifications n where n.name = f.name and n.state = 'pending'
  ) o
  where o.newer >= $1::bigint or o.noted_at < pg_catalog.now() - $2::interval
  limit $3
), ended as (
  update rollcall.notifications n
  set state = 'failed', ended_at = pg_catalog.clock_timestamp(),
    error = case when o.beyond then 'given up: too many notifications waited' else 'given up: it waited for too long' end
  from over o where n.transition = o.transition and n.name = o.name and n.state = 'pending'
  returning n.name
)
select name, pg_catalog.count(*) from ended group by name
