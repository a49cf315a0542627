-- Parked users by whom a target ($1) is tried out: of those who have waited for longest any
-- seven, and anybody. Not who has to wait for long by himself.
(select source, user_id from rollcall.parked
 where target = $1 and not given_up and retry_at < now() + interval '10 minutes'
 order by retry_at, random() limit 7)
union
(select source, user_id from rollcall.parked
 where target = $1 and not given_up and retry_at < now() + interval '10 minutes'
 order by random() limit 1)
