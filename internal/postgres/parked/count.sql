-- Counts the parked rows of a target ($1): of some ids, or of users whose memberships they are ($2), null for all.
select pg_catalog.count(*) from rollcall.parked
where target = $1 and ($2::text[] is null or user_id = any($2) or (source, user_id) in (
  select m.source, m.id from rollcall.memberships m where m.user_id = any($2)))
