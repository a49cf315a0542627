-- Forgets the bodies of events of a kind ($1, see events_kept) received from $2 on and more than $3 ago, the oldest
-- first, $4 at most. Returns how many and when the last of them was received. By their places, because
-- no statistics can make the planner find these rows in another way; a place is one within a partition.
with due as (
  select tableoid as part, ctid as place from rollcall.events
  where (case when body is null then 0 when outcome <> 'undecodable' then 1 else 2 end) = $1
    and received_at >= $2 and received_at <= pg_catalog.now() - $3::interval
  order by received_at limit $4 for update skip locked
), forgotten as (
  update rollcall.events e set body = null from due
  where e.ctid = due.place and e.tableoid = due.part
  returning received_at
)
select pg_catalog.count(*), coalesce(pg_catalog.max(received_at), $2) from forgotten
