-- Whether a policy shows every row of a table ($1 its oid) to the current role, and none
-- restricts it.
select coalesce(bool_or(p.polpermissive and pg_get_expr(p.polqual, p.polrelid) = 'true'), false)
   and coalesce(bool_and(p.polpermissive), true)
from pg_policy p
where p.polrelid = $1 and p.polcmd in ('r', '*')
  and exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(r, 'usage'))
