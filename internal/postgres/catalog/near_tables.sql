-- Tables whose name differs from $1 in case or schema only, for a hint; without those in the
-- schemas $2 and without $3, which are schema.table.
select n.nspname::text || '.' || c.relname::text
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where pg_catalog.lower(c.relname::text) = pg_catalog.lower($1) and c.relkind in ('r', 'p')
  and not n.nspname = any($2::text[]) and not n.nspname::text || '.' || c.relname::text = any($3::text[])
order by 1 limit 3
