-- Notes that a replica ($1) lives with its set of targets ($2) and its configuration ($4), since when ($5), and when that
-- took the place of another one ($6, null for never); forgets those that have long ended, and counts those that live
-- with another set.
with noted as (
  insert into rollcall.replicas as r (id, config, configuration, started_at, reloaded_at) values ($1, $2, $4, $5, $6)
  on conflict (id) do update set seen_at = pg_catalog.now(), config = excluded.config, configuration = excluded.configuration,
    reloaded_at = excluded.reloaded_at
), ended as (
  delete from rollcall.replicas where id <> $1 and seen_at < pg_catalog.now() - interval '1 day'
)
select pg_catalog.count(*) from rollcall.replicas
where id <> $1 and config <> $2 and seen_at > pg_catalog.now() - $3::interval
