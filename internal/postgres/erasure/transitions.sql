-- Deletes what was noted of a user ($1 source, $2 id) and of their memberships, with the notifications:
-- some transitions ($3 ids), and those with an id above $4, so that no more is read while the user is locked. What ends
-- them is still said where it waits, without what was known of them: what the erasure itself ends, and what an earlier
-- transaction has ended and a receiver has not got.
with noted as materialized (
  select t.id, t.type in ('deleted', 'left') and (t.xmin = pg_catalog.pg_current_xact_id()::xid or exists (
    select from rollcall.notifications n where n.transition = t.id and n.state in ('pending', 'failed')
  )) as waits
  from rollcall.transitions t
  where (t.id = any($3::bigint[]) or t.id > $4::bigint) and t.source = $1 and t.user_id = $2
), wordless as (
  update rollcall.transitions t set was = null from noted where t.id = noted.id and noted.waits
), unexplained as (
  update rollcall.notifications n set error = null from noted
  where n.transition = noted.id and noted.waits and n.error is not null
), gone as (
  delete from rollcall.transitions t using noted where t.id = noted.id and not noted.waits
  returning t.id
)
delete from rollcall.notifications where transition in (select id from gone)
