-- The last $3 events of each source ($1) by id, of those whose ids are plain ASCII and begin with $2: '~' is behind
-- all letters, digits and marks of such ids.
select e.source, e.id, e.type, coalesce(e.user_id, ''), e.outcome, e.received_at, pg_catalog.octet_length(e.body), coalesce(e.reason, '')
from pg_catalog.unnest($1::text[]) s (name)
cross join lateral (
  select * from rollcall.events e
  where e.source = s.name collate "C" and e.id >= $2::text collate "C" and e.id < ($2::text || '~') collate "C"
  order by e.source desc, e.id desc limit $3
) e
