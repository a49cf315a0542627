-- The columns of a table ($1 its oid) that an insert of the columns $2 leaves to their defaults:
-- name, default, and the sequences behind it that the role may not use, as a grant; "" for none.
select a.attname::text, pg_catalog.pg_get_expr(d.adbin, d.adrelid),
       coalesce((
         select pg_catalog.format('grant usage on sequence %I.%I to %I', n.nspname, s.relname, current_user)
         from pg_depend r
         join pg_class of on of.oid = r.classid and of.relname = 'pg_attrdef'
         join pg_class s on s.oid = r.refobjid
         join pg_namespace n on n.oid = s.relnamespace
         where r.objid = d.oid
           and case s.relkind when 'S' then not pg_catalog.has_sequence_privilege(s.oid, 'usage, update') end
         limit 1
       ), '')
from pg_attribute a
join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  and not a.attname = any($2::text[])
order by a.attnum
