-- Takes the bodies of events about a user ($1 source, $2 id), and returns how many had one.
with taken as (
  update rollcall.events e set body = null where e.source = $1 and e.user_id = $2 and e.body is not null returning 1
)
select pg_catalog.count(*) from taken
