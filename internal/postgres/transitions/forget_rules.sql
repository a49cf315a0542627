-- Forgets the rules of replicas that have not noted themselves for a time ($1).
delete from rollcall.rules r
where not exists (
  select from rollcall.replicas a where a.id = r.replica and a.seen_at > pg_catalog.now() - $1::interval
)
