-- Has parked users of a target ($1) tried at once, $2 of them, who would have to wait.
update rollcall.parked p set retry_at = pg_catalog.now()
where (p.source, p.user_id, p.target) in (
  select source, user_id, target from rollcall.parked
  where target = $1 and not given_up and retry_at > pg_catalog.now()
  limit $2 for update skip locked
)
