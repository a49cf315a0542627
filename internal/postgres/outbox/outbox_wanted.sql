-- Whether the outboxes (%[1]s) want to be watched: somewhere the trigger is installed, or rows are
-- left over.
select exists (
  select from pg_trigger t join pg_proc f on f.oid = t.tgfoid join pg_namespace n on n.oid = f.pronamespace
  where not t.tgisinternal and n.nspname in ('rollcall', 'rollcall_provider') and f.proname = 'capture'
) or exists (select from %[1]s o)
