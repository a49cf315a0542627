-- The tables that a table ($1 its oid) references by foreign keys.
select distinct confrelid from pg_constraint where conrelid = $1 and contype = 'f' and confrelid <> conrelid
