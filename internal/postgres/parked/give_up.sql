-- Gives up parked rows of a target ($1), $2 of them: of some ids, or of users whose memberships they are ($3), null for
-- all. Returns how many, and whether there are more, such as rows that are being tried. A new event about one begins
-- anew.
with matching as not materialized (
  select source, user_id, target from rollcall.parked
  where target = $1 and not given_up
    and ($3::text[] is null or user_id = any($3) or (source, user_id) in (
      select m.source, m.id from rollcall.memberships m where m.user_id = any($3)))
), chosen as materialized (
  select p.source, p.user_id, p.target from rollcall.parked p
  where (p.source, p.user_id, p.target) in (select source, user_id, target from matching)
  limit $2 for update skip locked
), changed as (
  update rollcall.parked p set given_up = true
  from chosen c where p.source = c.source and p.user_id = c.user_id and p.target = c.target
  returning 1
)
select (select pg_catalog.count(*) from changed), (select pg_catalog.count(*) from matching) > (select pg_catalog.count(*) from chosen)
