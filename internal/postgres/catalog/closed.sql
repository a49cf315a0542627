-- The first table that no target may write among a table ($1 its oid), its ancestors and
-- descendants, and what it reads as a view: one in a schema of $2, or one of the tables $3
-- (schemas) and $4 (names).
with recursive up as (
  select $1::oid as oid
  union
  select parent.oid
  from up
  join (
    select inhrelid as child, inhparent as oid from pg_inherits
    union all
    select r.ev_class, d.refobjid
    from pg_rewrite r
    join pg_depend d on d.objid = r.oid
    join pg_class rules on rules.oid = d.classid and rules.relname = 'pg_rewrite'
    join pg_class tables on tables.oid = d.refclassid and tables.relname = 'pg_class'
  ) parent on parent.child = up.oid
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
