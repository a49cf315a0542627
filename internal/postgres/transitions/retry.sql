-- Makes failed notifications of a name ($1, '' for all) with an id ($2, '' for any) due again, in a pause, too: $3 at most
-- of those that have failed before $4. It returns how many.
with chosen as materialized (
  select transition, name from rollcall.notifications
  where state = 'failed' and (ended_at < $4) is not false and ($1::text = '' or name = $1) and ($2::text = '' or transition = rollcall.transition_of($2)
    and name = (select k.name from rollcall.notifiers k where k.mark = pg_catalog.substr($2, 21)))
  limit $3
), again as (
  update rollcall.notifications n
  set state = 'pending', attempts = 0, due_at = pg_catalog.clock_timestamp(), ended_at = null
  from chosen c where n.transition = c.transition and n.name = c.name and n.state = 'failed'
  returning n.name
), unpaused as (
  update rollcall.notifiers set paused_until = null where paused_until is not null and name in (select name from again)
)
select pg_catalog.count(*) from again
