-- Notes that a replica ($1) lives with its set of targets ($2), forgets those that have long ended,
-- and counts those that live with another set.
with noted as (
  insert into rollcall.replicas as r (id, config) values ($1, $2)
  on conflict (id) do update set seen_at = pg_catalog.now()
), ended as (
  delete from rollcall.replicas where id <> $1 and seen_at < pg_catalog.now() - interval '1 day'
)
select pg_catalog.count(*) from rollcall.replicas
where id <> $1 and config <> $2 and seen_at > pg_catalog.now() - $3::interval
