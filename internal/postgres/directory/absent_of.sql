-- Users of the roll ($1 the source, after id $2, $3 at most) who are not among those that a
-- provider's reader calls living (%[1]s).
select u.id, pg_catalog.statement_timestamp()
from rollcall.users u
where u.source = $1 and u.id > $2 and u.deleted_at is null
  and not exists (select from %[1]s r where r.id::text = pg_catalog.lower(u.id))
order by u.id limit $3
