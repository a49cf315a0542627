-- Deletes what was noted of a user ($1 source, $2 id) and of their memberships for notifications, with the notifications.
-- What the erasure itself ends is said, without what was known of them.
with ended as (
  update rollcall.transitions set was = null
  where source = $1 and user_id = $2 and xmin = pg_catalog.pg_current_xact_id()::xid
), gone as (
  delete from rollcall.transitions
  where source = $1 and user_id = $2 and xmin is distinct from pg_catalog.pg_current_xact_id()::xid
  returning id
)
delete from rollcall.notifications where transition in (select id from gone)
