-- Deletes what targets said of a user ($1 source, $2 id) and of their memberships, and returns how much that was.
with deleted as (
  delete from rollcall.parked p
  where p.source = $1
    and (p.user_id = $2 or p.user_id = any (array(select m.id from rollcall.memberships m where m.source = $1 and m.user_id = $2)))
  returning 1
)
select pg_catalog.count(*) from deleted
