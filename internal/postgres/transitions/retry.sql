-- Makes failed notifications of a name ($1, '' for all) with an id ($2, '' for any) due again, in a pause, too: $3 at
-- most of those that have failed before $4. It returns how many. As in bound.sql they are found by their place.
with again as (
  update rollcall.notifications n
  set state = 'pending', attempts = 0, due_at = pg_catalog.clock_timestamp(), ended_at = null
  where n.state = 'failed' and n.ctid = any (array(
    select f.ctid from rollcall.notifications f
    where f.state = 'failed' and (f.ended_at < $4) is not false and ($1::text = '' or f.name = $1)
      and ($2::text = '' or f.transition = rollcall.transition_of($2)
        and f.name = (select k.name from rollcall.notifiers k where k.mark = pg_catalog.substr($2, 21)))
    limit $3
  ))
  returning n.name
), unpaused as (
  update rollcall.notifiers set paused_until = null where paused_until is not null and name in (select name from again)
)
select pg_catalog.count(*) from again
