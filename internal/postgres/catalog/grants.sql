-- What would give the current role the right that it lacks to a thing of kind $1 and name $2, as
-- PostgreSQL's refusal calls it; $3 is the target's table, $4 what a target needs there.
with missing as (
  select pg_catalog.format('%s on %I.%I',
    case when c.oid = $3::oid then $4::text else 'select' end, n.nspname, c.relname) as what
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where $1 in ('table', 'view', 'materialized view', 'foreign table')
    and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_catalog.has_schema_privilege(n.oid, 'usage')
    and (c.oid = $3::oid or not pg_catalog.has_table_privilege(c.oid, 'select'))
  union all
  select pg_catalog.format('execute on function %I.%I(%s)',
    n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where $1 in ('function', 'aggregate') and p.proname = $2 and pg_catalog.has_schema_privilege(n.oid, 'usage')
    and not pg_catalog.has_function_privilege(p.oid, 'execute')
  union all
  select pg_catalog.format('usage on schema %I', n.nspname)
  from pg_namespace n
  where $1 = 'schema' and n.nspname = $2 and not pg_catalog.has_schema_privilege(n.oid, 'usage')
)
select pg_catalog.format('grant %s to %I', what, current_user) from missing order by 1
