-- For how many seconds the oldest row of the outboxes has waited (%[1]s is that of ids).
select coalesce(pg_catalog.max(age), 0)::float8 from (
  (select greatest(0, extract(epoch from pg_catalog.clock_timestamp() - at)) as age from rollcall.outbox order by id limit 1)%[1]s
) o
