-- How many runs wait and are under way, and how many jobs failed when they last ran. River forgets a run that ended
-- well after a day, one that failed after a week. $1 is the kind of Rollcall's runs.
select
  (select pg_catalog.count(*) from rollcall.river_job
   where kind = $1::text and state = any ('{available,pending,scheduled,retryable}'::rollcall.river_job_state[])),
  (select pg_catalog.count(*) from rollcall.river_job where kind = $1::text and state = 'running'::rollcall.river_job_state),
  (select pg_catalog.count(*) from (
     select args, pg_catalog.max(finalized_at) as at from rollcall.river_job
     where kind = $1::text and state = 'discarded'::rollcall.river_job_state group by args) f
   where not exists (
     select from rollcall.river_job d
     where d.kind = $1::text and d.state = 'completed'::rollcall.river_job_state and d.finalized_at > f.at and d.args = f.args))
