-- Forgets the bodies of events of a kind ($1, see events_kept) received from $2 on and more than $3 ago, the oldest
-- first, $4 at most. Returns how many and when the last of them was received. By ctid, because
-- no statistics can make the planner find these rows in another way.
with forgotten as (
  update rollcall.events set body = null
  where ctid = any(array(
    select ctid from rollcall.events
    where (case when body is null then 0 when outcome <> 'undecodable' then 1 else 2 end) = $1
      and received_at >= $2 and received_at <= now() - $3::interval
    order by received_at limit $4 for update skip locked
  ))
  returning received_at
)
select count(*), coalesce(max(received_at), $2) from forgotten
