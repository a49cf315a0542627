-- The columns of a table ($1 its oid): name, type with its modifier, and the labels of an enum, also
-- in an array.
select a.attname::text,
       pg_catalog.format_type(a.atttypid, a.atttypmod),
       array(select e.enumlabel::text from pg_enum e
             where e.enumtypid in (t.oid, t.typelem, t.typbasetype) order by e.enumsortorder)
from pg_attribute a join pg_type t on t.oid = a.atttypid
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
