-- As count.sql, of users ($6), by the index events_of_user.
select pg_catalog.count(*)
from rollcall.events e
where e.user_id = any($6::text[]) and ($1::text[] is null or e.source = any($1))
  and ($2::text[] is null or e.type = any($2)) and ($3::text[] is null or e.outcome = any($3))
  and e.received_at >= $4 and e.received_at < $5
