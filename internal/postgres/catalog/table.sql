-- A table by its exact names: $1 schema, $2 name.
select c.oid,
       c.relkind::text,
       c.relrowsecurity and b.binds as row_security_hides,
       array(select p from pg_catalog.unnest(array['select', 'insert', 'update', 'delete']) p
             where not pg_catalog.has_schema_privilege(n.oid, 'usage')
                or not case p when 'delete' then pg_catalog.has_table_privilege(c.oid, p)
                  else pg_catalog.has_any_column_privilege(c.oid, p) end
       ) as missing_privileges,
       exists (select from pg_trigger t
               where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D'
                 and (t.tgtype::integer & 7) = 7) as before_insert_trigger,
       pg_catalog.has_table_privilege(c.oid, 'insert, update, delete') as lockable, -- not with rights to columns only
       exists (select from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D') as triggers,
       current_user::text,
       c.relforcerowsecurity and pg_catalog.pg_has_role(c.relowner, 'usage') as forced_on_owner,
       b.binds,
       array(select coalesce(a.attname::text, '') from pg_partitioned_table p -- '' for an expression
             cross join pg_catalog.unnest(p.partattrs::int2[]) as k (attnum)
             left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = k.attnum and a.attnum > 0
             where p.partrelid = c.oid) as partitioned_by
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select not (pg_catalog.pg_has_role(c.relowner, 'usage') and not c.relforcerowsecurity) and not (r.rolsuper or r.rolbypassrls) as binds
  from pg_roles r where r.rolname = current_user
) b
where n.nspname = $1 and c.relname = $2
