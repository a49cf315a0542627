-- Looks at up to $4 transitions after one ($1) that are older than $2, and deletes those of which no notification is
-- pending or failed; those older than $3 in any case. It returns how many it has deleted, and the last it has looked
-- at, 0 when there are no more. The states are named so that the index of those that are open, which may be many, is
-- not read as a whole.
with old as materialized (
  select id, at from rollcall.transitions
  where id > $1 and at < pg_catalog.now() - $2::interval
  order by id limit $4 for update skip locked
), gone as (
  delete from rollcall.transitions t using old o
  where t.id = o.id and (o.at < pg_catalog.now() - $3::interval or not exists (
    select from rollcall.notifications n where n.transition = o.id and n.state not in ('delivered', 'skipped')
  ))
  returning t.id
), untold as (
  delete from rollcall.notifications where transition in (select id from gone)
)
select (select pg_catalog.count(*) from gone),
  case when pg_catalog.count(*) < $4 then 0 else coalesce(pg_catalog.max(id), 0) end from old
