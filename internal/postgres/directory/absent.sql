-- Users of the roll ($1 the source, after id $2, $3 at most) that a table of users (%[1]s)
-- has no more, or only as deleted (%[2]s holds for the living).
select u.id, pg_catalog.statement_timestamp()
from rollcall.users u
left join lateral (
  select %[2]s as living
  from %[1]s r
  where r.id = case when u.id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then u.id::uuid end
  offset 0
) r on true
where u.source = $1 and u.id > $2 and u.deleted_at is null and r.living is not true
order by u.id limit $3
