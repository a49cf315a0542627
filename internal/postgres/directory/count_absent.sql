-- How many living users of the roll ($1 the source) a table of users (%[1]s) has no more, or only
-- as deleted (%[2]s holds for the living). Both sides are read once and joined by hashes of texts:
-- to look each user up, as the statement that lists them does, takes five times as long.
select pg_catalog.count(*)
from rollcall.users u
where u.source = $1 and u.deleted_at is null
  and not exists (select from %[1]s r where r.id::text = pg_catalog.lower(u.id) and %[2]s)
