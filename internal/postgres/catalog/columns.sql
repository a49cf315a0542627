-- The columns of a table ($1 its oid): name, type without modifier (-1, not null: bpchar
-- and bit have names of their own there), type as it rounds (a numeric or a time with its
-- modifier), the characters that a varchar(n) holds (0 for any other type), and how two values are compared: 'equal' by the type's own equality, 'text'
-- where it has none or one that calls different texts equal (citext and other types of
-- extensions), whether the role may read it, whether it is a kind of text, an enum's labels, whether an index on
-- lower(column), in its collation, has all rows, and the collation.
with recursive base as (
  select a.attnum, a.atttypid as oid
  from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  union all
  select b.attnum, case when t.typtype = 'd' then t.typbasetype else t.typelem end
  from base b join pg_type t on t.oid = b.oid
  where t.typtype = 'd' or (t.typcategory = 'A' and t.typelem <> 0::oid)
), plain as ( -- the type below all domains: a cast to a domain over varchar(5) would cut
  select a.attnum, a.atttypid as oid, 0 as depth
  from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  union all
  select p.attnum, t.typbasetype, p.depth + 1 from plain p join pg_type t on t.oid = p.oid where t.typtype = 'd'
), leaf as (
  select b.attnum, t.*
  from base b join pg_type t on t.oid = b.oid
  where t.typtype <> 'd' and not (t.typcategory = 'A' and t.typelem <> 0::oid)
)
select a.attname::text,
       pg_catalog.format_type(plain.oid, -1),
       pg_catalog.format_type(a.atttypid, case when l.typcategory in ('N', 'D', 'T') then a.atttypmod else -1 end),
       case when a.atttypid = 'varchar'::regtype::oid and a.atttypmod > 4
         then a.atttypmod - 4 else 0 end, -- 4: as in varchar's own code
       a.attnotnull or t.typnotnull,
       a.attgenerated <> '',
       a.attidentity::text,
       a.atthasdef or a.attidentity <> '' or t.typdefault is not null,
       case when coalesce(not co.collisdeterministic, false) then 'text'
            when l.typtype in ('e', 'r', 'm') then 'equal'
            when l.typnamespace = 'pg_catalog'::regnamespace::oid and exists (
              select from pg_opclass o join pg_am m on m.oid = o.opcmethod
              where m.amname = 'btree' and o.opcdefault
                and (o.opcintype = l.oid or (l.oid = 'varchar'::regtype::oid and o.opcintype = 'text'::regtype::oid))
            ) then 'equal'
            else 'text' end,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'select'),
       (select p.typcategory = 'S' from pg_type p where p.oid = plain.oid),
       array(select e.enumlabel::text from pg_enum e where e.enumtypid = plain.oid order by e.enumsortorder),
       exists (
         select from pg_index i join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
         where i.indrelid = a.attrelid and i.indexprs is not null and i.indpred is null and i.indisvalid and i.indcollation[0] = a.attcollation and m.amname in ('btree', 'hash')
           and pg_catalog.pg_get_indexdef(i.indexrelid, 1, false) in (
             pg_catalog.format('lower(%I)', a.attname), pg_catalog.format('lower((%I)::text)', a.attname))
       ),
       coalesce((select pg_catalog.format('%I.%I', n.nspname, co.collname) from pg_namespace n where n.oid = co.collnamespace), '')
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join leaf l on l.attnum = a.attnum
join plain on plain.attnum = a.attnum and not exists (select from plain p where p.attnum = a.attnum and p.depth > plain.depth)
left join pg_collation co on co.oid = a.attcollation
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum
