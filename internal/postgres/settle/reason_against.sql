-- The columns of constraints and unique indexes of a table ($1 its oid) by their names ($2).
select c.conname::text, array(select a.attname::text from pg_catalog.unnest(c.conkey) with ordinality k (attnum, at)
                              join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum order by k.at)
from pg_constraint c where c.conrelid = $1 and c.conname = any($2::text[])
union
select i.relname::text, array(select a.attname::text
                              from pg_catalog.unnest(x.indkey::int2[]) with ordinality k (attnum, at)
                              join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
                              where k.at <= x.indnkeyatts order by k.at)
from pg_index x join pg_class i on i.oid = x.indexrelid
where x.indrelid = $1 and x.indisunique and i.relname = any($2::text[])
