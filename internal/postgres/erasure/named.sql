-- Takes the bodies of events of a source ($1), and returns how many had one: $2 their ids.
with taken as (
  update rollcall.events e set body = null where e.source = $1 and e.id = any($2::text[]) and e.body is not null returning 1
)
select pg_catalog.count(*) from taken
