-- Events in order of arrival (%[1]s), behind the one received at $6 with source $7 and id $8, at most $9 of them: of
-- sources ($1), types ($2) and outcomes ($3), each null for all, received from $4 on and before $5. The first
-- events of each kind are read by the index events_kinds.
select e.source, e.id, e.type, coalesce(e.user_id, ''), e.outcome, e.received_at, pg_catalog.octet_length(e.body), coalesce(e.reason, '')
from kinds k cross join lateral (
  select * from rollcall.events e
  where e.source = k.source and e.type = k.type and e.outcome = k.outcome
    and e.received_at >= $4 and e.received_at < $5
    and e.received_at %[2]s= $6 and (e.received_at, e.source, e.id) %[2]s ($6, $7, $8)
  order by e.received_at %[1]s, e.id %[1]s limit $9
) e
where ($1::text[] is null or k.source = any($1)) and ($2::text[] is null or k.type = any($2))
  and ($3::text[] is null or k.outcome = any($3))
order by e.received_at %[1]s, e.source %[1]s, e.id %[1]s limit $9
