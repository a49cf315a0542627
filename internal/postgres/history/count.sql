-- How many events there are, by the first parameters of list.sql.
select coalesce(pg_catalog.sum(e.n), 0)::bigint
from kinds k cross join lateral (
  select pg_catalog.count(*) as n from rollcall.events e
  where e.source = k.source and e.type = k.type and e.outcome = k.outcome and e.received_at >= $4 and e.received_at < $5
) e
where ($1::text[] is null or k.source = any($1)) and ($2::text[] is null or k.type = any($2))
  and ($3::text[] is null or k.outcome = any($3))
