-- Ends announcements that nobody has answered for $1; $2 at most.
update rollcall.events set outcome = 'never_created', look_at = null
where ctid = any(array(
  select ctid from rollcall.events
  where outcome = 'announced' and coalesce(look_at, received_at) <= now() - $1::interval
  limit $2 for update skip locked
))
