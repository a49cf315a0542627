-- Puts the runs of Rollcall's jobs (kind $1) anew that replicas have under way who have not noted
-- themselves for a while ($2), unless a run has been put anew too often ($3 attempts). The run is a
-- new row: what the other replica still says of the old one's end then changes nothing. Replicas of
-- earlier versions have no row in rollcall.replicas; their runs stay. Returns what was found, and
-- whether it was put anew.
with gone as (
  update rollcall.river_job j
  set state = 'discarded', finalized_at = pg_catalog.now(), errors = pg_catalog.array_append(j.errors, pg_catalog.jsonb_build_object(
    'at', pg_catalog.now(), 'attempt', j.attempt, 'error', 'the replica that ran it is gone', 'trace', ''))
  from rollcall.replicas r
  where j.state = 'running' and j.kind = $1 and r.id = j.attempted_by[pg_catalog.array_upper(j.attempted_by, 1)]
    and r.seen_at < pg_catalog.now() - $2::interval
  returning j.args, j.attempt, j.max_attempts, j.attempted_by, j.kind, j.priority, j.queue, j.tags, j.metadata, j.unique_key, j.unique_states
), anew as (
  insert into rollcall.river_job (args, attempt, max_attempts, attempted_by, kind, priority, queue, tags, metadata, unique_key, unique_states)
  select g.* from gone g where g.attempt < $3
  on conflict do nothing
)
select g.args->>'name', g.attempt < $3 from gone g
