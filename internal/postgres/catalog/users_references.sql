-- The foreign keys of a table ($1 its oid) to auth.users and to the tables $2 (schemas) and $3
-- (names): name, columns, whether one of them may not be null, the table referenced and its
-- columns, and what becomes of the row when that one is deleted, as in pg_constraint.
select f.conname::text,
       array(select a.attname::text from pg_catalog.unnest(f.conkey) with ordinality as k (attnum, n)
             join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum order by k.n),
       exists (select from pg_attribute a where a.attrelid = f.conrelid and a.attnum = any(f.conkey) and a.attnotnull),
       n.nspname::text || '.' || c.relname::text,
       array(select a.attname::text from pg_catalog.unnest(f.confkey) with ordinality as k (attnum, n)
             join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum order by k.n),
       f.confdeltype::text
from pg_constraint f
join pg_class c on c.oid = f.confrelid
join pg_namespace n on n.oid = c.relnamespace
where f.conrelid = $1 and f.contype = 'f' and f.conparentid = 0::oid
  and (n.nspname = 'auth' and c.relname = 'users' or exists (
    select from unnest($2::text[], $3::text[]) as u (schema, name) where u.schema = n.nspname and u.name = c.relname
  ))
order by 1
