-- The enabled triggers of a table ($1 its oid) with their functions. Those that run before a row is
-- written or removed, and so may change or keep it, come first.
select pg_catalog.format('"%s" (function %I.%I())', pg_catalog.replace(t.tgname, '"', '""'), n.nspname, f.proname)
from pg_trigger t join pg_proc f on f.oid = t.tgfoid join pg_namespace n on n.oid = f.pronamespace
where t.tgrelid = $1 and not t.tgisinternal and t.tgenabled <> 'D'
order by (t.tgtype & 3) <> 3, t.tgname
