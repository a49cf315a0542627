-- Forgets events as forget_bodies.sql does bodies.
with forgotten as (
  delete from rollcall.events
  where ctid = any(array(
    select ctid from rollcall.events
    where (case when body is null then 0 when outcome <> 'undecodable' then 1 else 2 end) = $1
      and received_at >= $2 and received_at <= now() - $3::interval
    order by received_at limit $4 for update skip locked
  ))
  returning received_at
)
select count(*), coalesce(max(received_at), $2) from forgotten
