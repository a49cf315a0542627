-- Ends announcements that nobody has answered for $1; $2 at most. By their places, as
-- forget_bodies.sql.
with due as (
  select tableoid as part, ctid as place from rollcall.events
  where outcome = 'announced' and coalesce(look_at, received_at) <= pg_catalog.now() - $1::interval
  limit $2 for update skip locked
)
update rollcall.events e set outcome = 'never_created', look_at = null from due
where e.ctid = due.place and e.tableoid = due.part
