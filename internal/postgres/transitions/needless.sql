-- Whether there are rules of replicas that have not noted themselves for a time ($1), or triggers that no rule wants.
select exists (
  select from rollcall.rules r
  where not exists (
    select from rollcall.replicas a where a.id = r.replica and a.seen_at > pg_catalog.now() - $1::interval
  )
) or exists (
  select from rollcall.noting() n
  join pg_catalog.pg_trigger t on t.tgrelid = ('rollcall.' || n.roll)::regclass and t.tgname = n.name
  where not exists (select from rollcall.rules r where r.transitions && n.transitions)
)
