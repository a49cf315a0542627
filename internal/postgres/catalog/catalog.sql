-- What the statements of targets depend on, as (target, thing, state): $1 targets, $2 and $3 the
-- schemas and names of their tables. A function that is replaced counts at once, without being noticed
-- here. A whole catalog row counts: a change that does not matter costs one compilation.
-- The row without a target is the snapshot that all of it was read with.
with recursive target as materialized (
  select t.name, c.*, n.nspowner, n.nspacl
  from unnest($1::text[], $2::text[], $3::text[]) as t (name, schema, relation)
  join pg_catalog.pg_namespace n on n.nspname = t.schema
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.relation
), typed as ( -- the columns' types, with what domains, arrays and ranges are made of
  select t.name, a.atttypid as oid
  from target t join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
  union
  select d.name, inner_type.oid
  from typed d join pg_catalog.pg_type y on y.oid = d.oid
  left join pg_catalog.pg_range r on r.rngtypid = y.oid
  cross join lateral (values (y.typbasetype), (y.typelem), (r.rngsubtype)) as inner_type (oid)
  where inner_type.oid <> '0'
), own as (
  select d.name, y.* from typed d join pg_catalog.pg_type y on y.oid = d.oid
  where y.typnamespace operator(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace
)
select t.name, 'table', pg_catalog.concat_ws(' ', t.oid, t.relkind, t.relowner, t.relacl,
  t.relrowsecurity, t.relforcerowsecurity, t.nspowner, t.nspacl)
from target t
union all
select t.name, 'rights', pg_catalog.concat_ws(' ', r.rolname, r.rolsuper, r.rolbypassrls,
  pg_catalog.pg_has_role(t.relowner, 'usage'),
  pg_catalog.has_schema_privilege(t.relnamespace, 'usage'), pg_catalog.has_any_column_privilege(t.oid, 'select'),
  pg_catalog.has_any_column_privilege(t.oid, 'insert'), pg_catalog.has_any_column_privilege(t.oid, 'update'),
  pg_catalog.has_table_privilege(t.oid, 'insert, update, delete'), pg_catalog.has_table_privilege(t.oid, 'delete'))
from target t, pg_catalog.pg_roles r where r.rolname = current_user
union all
select t.name, pg_catalog.concat('column ', a.attname), pg_catalog.concat(
  pg_catalog.format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' end,
  case when a.attgenerated <> '' then ' generated' end, '|', pg_catalog.md5(a::text))
from target t join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
union all
select t.name, pg_catalog.concat('default of ', a.attname), pg_catalog.md5(d.adbin::text)
from target t join pg_catalog.pg_attrdef d on d.adrelid = t.oid
join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
union all
select t.name, pg_catalog.concat('index ', c.relname), pg_catalog.md5(i::text)
from target t join pg_catalog.pg_index i on i.indrelid = t.oid and (i.indisunique or i.indexprs is not null)
join pg_catalog.pg_class c on c.oid = i.indexrelid
union all
select t.name, pg_catalog.concat('constraint ', c.conname), pg_catalog.md5(c::text)
from target t join pg_catalog.pg_constraint c on c.conrelid = t.oid
union all
select t.name, pg_catalog.concat('trigger ', g.tgname), pg_catalog.md5(g::text)
from target t join pg_catalog.pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal
union all
select o.name, pg_catalog.concat('type ', o.typname), pg_catalog.md5(o::text)
from own o
union all
select o.name, pg_catalog.concat('label ', e.enumlabel, ' of ', o.typname),
  pg_catalog.concat_ws(' ', e.oid, e.enumsortorder)
from own o join pg_catalog.pg_enum e on e.enumtypid = o.oid
union all
select o.name, pg_catalog.concat('constraint ', c.conname, ' of ', o.typname), pg_catalog.md5(c::text)
from own o join pg_catalog.pg_constraint c on c.contypid = o.oid
union all
select '', '', pg_catalog.pg_current_snapshot()::text
