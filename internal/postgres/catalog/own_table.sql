-- Whether a table ($1 its oid), one of its partitions or a table that inherits from it is among the
-- tables $2 (schemas) and $3 (names).
with recursive family as (
  select $1::oid as oid
  union
  select i.inhrelid from family f join pg_inherits i on i.inhparent = f.oid
)
select exists (
  select from family f join pg_class c on c.oid = f.oid join pg_namespace n on n.oid = c.relnamespace
  join unnest($2::text[], $3::text[]) as r (schema, name) on n.nspname = r.schema and c.relname = r.name
)
