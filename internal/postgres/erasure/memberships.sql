-- Ends and empties (%[1]s) the memberships of a user ($1 source, $2 id), whose row is locked, and returns them. $3 is
-- the set of targets.
with held as materialized (
  select m.source, m.id from rollcall.memberships m where m.source = $1 and m.user_id = $2 order by m.source, m.id for no key update
)
update rollcall.memberships m
set %[1]s, deleted_at = coalesce(m.deleted_at, pg_catalog.now()), changed_at = pg_catalog.clock_timestamp(), config = $3::integer
from held h
where m.source = h.source and m.id = h.id
returning m.source, m.id
