-- How the captures of some sources ($1) on their tables ($2 schemas, $3 names) are doing: whether
-- our trigger is there, fires at what an application does and names the source, and for how many
-- seconds the oldest row of the outbox has waited (%[1]s is the outbox of ids). By the catalog, for a role that may not use
-- the schema; and without a count, which takes long when many rows wait.
select w.source,
       exists (
         select from pg_trigger t join pg_proc f on f.oid = t.tgfoid join pg_namespace n on n.oid = f.pronamespace
           join pg_class c on c.oid = t.tgrelid join pg_namespace s on s.oid = c.relnamespace
         where s.nspname = w.schema and c.relname = w.name and not t.tgisinternal and t.tgenabled in ('O', 'A')
           and n.nspname in ('rollcall', 'rollcall_provider') and f.proname = 'capture'
           and pg_catalog.replace(pg_catalog.encode(t.tgargs, 'escape'), '\000', '') = w.source
       ),
       coalesce((select pg_catalog.max(o.age) from (
         (select greatest(0, extract(epoch from pg_catalog.clock_timestamp() - o.at)) as age
          from rollcall.outbox o where o.source = w.source order by o.id limit 1)%[1]s
       ) o), 0)::float8
from unnest($1::text[], $2::text[], $3::text[]) w(source, schema, name)
