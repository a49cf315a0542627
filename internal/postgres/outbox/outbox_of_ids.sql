-- Whether the outbox of the schema rollcall_provider is there and may be emptied by us. Its owner
-- must be one who may put triggers on one of our tables of users ($1 schemas, $2 names): what it
-- has attached to the outbox runs as our role.
select exists (
  select from pg_class o join pg_namespace n on n.oid = o.relnamespace
  where n.nspname = 'rollcall_provider' and o.relname = 'outbox' and o.relkind = 'r' and n.nspowner = o.relowner
    and pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_table_privilege(o.oid, 'select') and pg_catalog.has_table_privilege(o.oid, 'delete')
    and exists (
      select from unnest($1::text[], $2::text[]) as w (schema, name)
      join pg_namespace s on s.nspname = w.schema join pg_class t on t.relnamespace = s.oid and t.relname = w.name
      where pg_catalog.has_table_privilege(o.relowner, t.oid, 'trigger')
    )
)
