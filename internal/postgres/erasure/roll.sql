-- Erases a user ($1 source, $2 id), whose row is locked; one that was not known keeps the placeholder. %[1]s empties a
-- row; $3 is the set of targets. It returns the moments, and whether they had been erased before.
with noted as (
  insert into rollcall.erased (source, id) values ($1, $2) on conflict do nothing
)
update rollcall.users u
set %[1]s, version = coalesce(u.version, 0), changed_at = pg_catalog.clock_timestamp(), config = $3::integer,
  deleted_at = coalesce(u.deleted_at, pg_catalog.now()), erased_at = coalesce(u.erased_at, pg_catalog.clock_timestamp())
from (select erased_at is not null as erased from rollcall.users where source = $1 and id = $2) before
where u.source = $1 and u.id = $2
returning u.deleted_at, u.erased_at, before.erased
