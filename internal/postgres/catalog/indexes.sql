-- The unique indexes of a table ($1 its oid) and what keeps one from serving as a key.
select i.indexrelid::regclass::text,
       array(select a.attname::text from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k (attnum, n)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             where k.n <= i.indnkeyatts order by k.n),
       i.indpred is not null as partial,
       not i.indimmediate as deferrable,
       i.indexprs is not null as on_expression,
       i.indisvalid
from pg_index i
where i.indrelid = $1 and i.indisunique
order by i.indisprimary desc, 1
