-- Forgets events as forget_bodies.sql does bodies.
with due as (
  select tableoid as part, ctid as place from rollcall.events
  where (case when body is null then 0 when outcome <> 'undecodable' then 1 else 2 end) = $1
    and received_at >= $2 and received_at <= pg_catalog.now() - $3::interval
  order by received_at limit $4 for update skip locked
), forgotten as (
  delete from rollcall.events e using due
  where e.ctid = due.place and e.tableoid = due.part
  returning received_at
)
select pg_catalog.count(*), coalesce(pg_catalog.max(received_at), $2) from forgotten
