-- Functions as a context names them ($2): the same, the function with its schema, and the triggers
-- of a table ($1 its oid) that call it.
select p.place, pg_catalog.format('%I.%I(%s)', n.nspname, f.proname, pg_catalog.oidvectortypes(f.proargtypes)),
       array(select t.tgname::text from pg_trigger t
             where t.tgrelid = $1 and not t.tgisinternal and t.tgfoid = f.oid order by 1)
from pg_catalog.unnest($2::text[]) p (place)
join pg_proc f on f.oid = pg_catalog.to_regprocedure(p.place)
join pg_namespace n on n.oid = f.pronamespace
