-- As list.sql, of users ($10), by the index events_of_user.
select e.source, e.id, e.type, coalesce(e.user_id, ''), e.outcome, e.received_at, pg_catalog.octet_length(e.body), coalesce(e.reason, '')
from (select distinct id from pg_catalog.unnest($10::text[]) as u (id)) u cross join lateral (
  select * from rollcall.events e
  where e.user_id = u.id collate "C"
    and ($1::text[] is null or e.source = any($1)) and ($2::text[] is null or e.type = any($2))
    and ($3::text[] is null or e.outcome = any($3))
    and e.received_at >= $4 and e.received_at < $5
    and e.received_at %[2]s= $6 and (e.received_at, e.source, e.id) %[2]s ($6, $7, $8)
  order by e.received_at %[1]s, e.source %[1]s, e.id %[1]s limit $9
) e
order by e.received_at %[1]s, e.source %[1]s, e.id %[1]s limit $9
