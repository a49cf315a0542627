-- Deletes what was noted of a user ($1 source, $2 id) and of their memberships for notifications, with the notifications.
-- What ends them is still said where it waits, without what was known of them: what the erasure itself ends, and what an
-- earlier transaction has ended and a receiver has not got.
with ends as materialized (
  select t.id from rollcall.transitions t
  where t.source = $1 and t.user_id = $2 and t.type in ('deleted', 'left') and (t.xmin = pg_catalog.pg_current_xact_id()::xid
    or exists (select from rollcall.notifications n where n.transition = t.id and n.state in ('pending', 'failed')))
), ended as (
  update rollcall.transitions t set was = null from ends where t.id = ends.id
), wordless as (
  update rollcall.notifications n set error = null from ends where n.transition = ends.id and n.error is not null
), gone as (
  delete from rollcall.transitions t
  where t.source = $1 and t.user_id = $2 and t.id not in (select id from ends)
  returning t.id
)
delete from rollcall.notifications where transition in (select id from gone)
