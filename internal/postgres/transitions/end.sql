-- Notes what became of a notification ($1): its state, the attempts, when it is due again, and an error or ''.
update rollcall.notifications
set state = $2, attempts = $3, due_at = pg_catalog.clock_timestamp() + $4::interval,
  ended_at = case when $2 <> 'pending' then pg_catalog.clock_timestamp() end, error = nullif($5, '')
where transition = rollcall.transition_of($1::text) and state = 'pending'
  and name = (select k.name from rollcall.notifiers k where k.mark = pg_catalog.substr($1::text, 21))
