-- Gives up pending notifications, $3 at most: of each name the oldest, so that $1 are left, and those that have waited
-- for $2. It returns how many. They are found by their place in the table: by an index the planner may take that of the
-- name for each of them.
with full_names as materialized (
  select name from rollcall.notifications where state = 'pending' group by name
  having pg_catalog.count(*) > $1::bigint or pg_catalog.min(noted_at) < pg_catalog.now() - $2::interval
), over as materialized (
  select o.ctid
  from full_names f
  cross join lateral (
    select n.ctid, n.noted_at, pg_catalog.row_number() over (order by n.transition desc) as place
    from rollcall.notifications n where n.name = f.name and n.state = 'pending'
  ) o
  where o.place > $1::bigint or o.noted_at < pg_catalog.now() - $2::interval
  limit $3
), ended as (
  update rollcall.notifications n
  set state = 'failed', ended_at = pg_catalog.clock_timestamp(),
    error = case when n.noted_at < pg_catalog.now() - $2::interval then 'given up: it waited for too long'
      else 'given up: too many notifications waited' end
  where n.ctid = any (array(select ctid from over)) and n.state = 'pending'
  returning n.name
)
select name, pg_catalog.count(*) from ended group by name
