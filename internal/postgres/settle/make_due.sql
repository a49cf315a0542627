-- Has parked rows of a target ($1) tried at once, $2 of them, who would have to wait: of some ids, or of users whose
-- memberships they are ($3), null for all. With $4 also those that were given up; their tries begin anew.
update rollcall.parked p set
  retry_at = pg_catalog.now(), given_up = false, attempts = case when p.given_up then 0 else p.attempts end
where (p.source, p.user_id, p.target) in (
  select source, user_id, target from rollcall.parked
  where target = $1 and (not given_up and retry_at > pg_catalog.now() or given_up and $4::boolean)
    and ($3::text[] is null or user_id = any($3) or (source, user_id) in (
      select m.source, m.id from rollcall.memberships m where m.user_id = any($3)))
  limit $2 for update skip locked
)
