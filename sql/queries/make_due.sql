-- Has parked users of a target ($1) tried at once, $2 of them, who would have to wait, but not
-- for long: whoever does is refused by himself.
update rollcall.parked p set retry_at = now()
where (p.source, p.user_id, p.target) in (
  select source, user_id, target from rollcall.parked
  where target = $1 and not given_up and retry_at > now() and retry_at < now() + interval '10 minutes'
  limit $2 for update skip locked
)
