-- Begins the notifications of a replica ($1) that nobody had before.
with begun as (
  insert into rollcall.notifiers (name, since)
  select r.name, pg_catalog.clock_timestamp() from rollcall.rules r where r.replica = $1 and r.since = 'infinity'
  on conflict do nothing
  returning name, since
)
update rollcall.rules r set since = b.since from begun b where r.name = b.name and r.since = 'infinity'
