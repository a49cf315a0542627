-- Our trigger on a table ($1 its oid): the source it names, whether it fires at what an
-- application does, and whether it is the one that notes ids.
select pg_catalog.replace(pg_catalog.encode(t.tgargs, 'escape'), '\000', ''), t.tgenabled in ('O', 'A'), n.nspname = 'rollcall_provider'
from pg_trigger t join pg_proc f on f.oid = t.tgfoid join pg_namespace n on n.oid = f.pronamespace
where t.tgrelid = $1 and not t.tgisinternal and n.nspname in ('rollcall', 'rollcall_provider') and f.proname = 'capture'
