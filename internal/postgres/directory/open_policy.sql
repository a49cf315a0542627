-- Whether a policy shows every row of a table ($1 its oid) to the current role, and none
-- restricts it.
select coalesce(pg_catalog.bool_or(p.polpermissive and pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'), false)
   and coalesce(pg_catalog.bool_and(p.polpermissive), true)
from pg_policy p
where p.polrelid = $1 and p.polcmd in ('r', '*')
  and exists (select from pg_catalog.unnest(p.polroles) r where r = 0::oid or pg_catalog.pg_has_role(r, 'usage'))
