-- The first table that no target may write among a table ($1 its oid), its ancestors and
-- descendants, and what it reads as a view: one in a schema of $2, or one of the tables $3
-- (schemas) and $4 (names).
with recursive up as (
  select $1::oid as oid
  union
  select parent.oid
  from up
  cross join lateral ( -- each by its key: joined as a whole, all views' rules would be read for each table
    select inhparent as oid from pg_inherits where inhrelid = up.oid
    union all
    select d.refobjid
    from pg_rewrite r
    join pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    where r.ev_class = up.oid
    offset 0
  ) parent
), down as (
  select $1::oid as oid
  union
  select i.inhrelid from down join pg_inherits i on i.inhparent = down.oid
)
select n.nspname::text || '.' || c.relname::text
from (select oid from up union select oid from down) related
join pg_class c on c.oid = related.oid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any($2::text[])
   or exists (
     select from unnest($3::text[], $4::text[]) as u (schema, name)
     where u.schema = n.nspname and u.name = c.relname
   )
order by c.oid <> $1::oid, 1
limit 1
