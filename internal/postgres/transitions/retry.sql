-- Makes failed notifications of a name ($1, '' for all) with an id ($2, '' for any) due again, in a pause, too, and returns how many.
with again as (
  update rollcall.notifications
  set state = 'pending', attempts = 0, due_at = pg_catalog.clock_timestamp(), ended_at = null
  where state = 'failed' and ($1::text = '' or name = $1) and ($2::text = '' or transition = rollcall.transition_of($2)
    and name = (select k.name from rollcall.notifiers k where k.mark = pg_catalog.substr($2, 21)))
  returning name
), unpaused as (
  update rollcall.notifiers set paused_until = null where paused_until is not null and name in (select name from again)
)
select pg_catalog.count(*) from again
