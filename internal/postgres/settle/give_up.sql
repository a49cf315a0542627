-- Gives up parked rows of a target ($1), $2 of them: of some ids, or of users whose memberships they are ($3), null for
-- all. A new event about one begins anew.
update rollcall.parked p set given_up = true
where (p.source, p.user_id, p.target) in (
  select source, user_id, target from rollcall.parked
  where target = $1 and not given_up
    and ($3::text[] is null or user_id = any($3) or (source, user_id) in (
      select m.source, m.id from rollcall.memberships m where m.user_id = any($3)))
  limit $2 for update skip locked
)
