-- Whether the functions that read a table of users ($1 its oid) for us are there ($2 their names) and
-- may be run. Their owner must be one who may put triggers on the table, and so decides about its
-- rows already: any role that may create schemas could make functions of these names.
-- The second value is the columns among $3 that they do not return: those of an older version.
select pg_catalog.count(*) = pg_catalog.cardinality($2::text[]),
  array(select c from pg_catalog.unnest($3::text[]) c where exists (
    select from pg_proc p where p.oid = any(pg_catalog.array_agg(f.oid)) and p.prorettype = 'record'::regtype::oid and c <> all(p.proargnames)))
from pg_proc f join pg_namespace n on n.oid = f.pronamespace
where n.nspname = 'rollcall_provider' and f.proname = any($2::text[]) and f.prosecdef
  and n.nspowner = f.proowner and pg_catalog.has_table_privilege(f.proowner, $1::oid, 'trigger')
  and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_function_privilege(f.oid, 'execute')
