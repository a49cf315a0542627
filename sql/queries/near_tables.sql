-- Tables whose name differs from $1 in case or schema only, for a hint.
select n.nspname || '.' || c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where lower(c.relname) = lower($1) and c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
order by 1 limit 3
