-- Forgets the rules of replicas that have not noted themselves for a time ($1), and those of one replica ($2, or null).
delete from rollcall.rules r
where r.replica = $2::text or not exists (
  select from rollcall.replicas a where a.id = r.replica and a.seen_at > pg_catalog.now() - $1::interval
)
