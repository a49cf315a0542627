-- Whether the current role is a superuser, and the roles, besides the owners of the schema and of the database and
-- superusers, that may create in a schema ($1) of the search path: public for every role.
select r.rolsuper,
       array(
         select coalesce(g.rolname::text, 'public')
         from pg_namespace n
         cross join pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
         left join pg_roles g on g.oid = a.grantee
         where n.nspname = $1 and a.privilege_type = 'CREATE'
           and a.grantee <> n.nspowner and a.grantee <> r.oid
           and not exists (select from pg_database d where d.datname = pg_catalog.current_database() and d.datdba = a.grantee)
           and not coalesce(g.rolsuper, false)
         order by 1
       )
from pg_roles r where r.rolname = current_user
