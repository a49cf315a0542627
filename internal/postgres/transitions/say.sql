-- Sends notifications ($2 ids, $3 texts) on a channel ($1) and marks them as delivered.
with done as (
  update rollcall.notifications n
  set state = 'delivered', attempts = n.attempts + 1, ended_at = pg_catalog.clock_timestamp(), error = null
  where n.id = any ($2::uuid[]) and n.state = 'pending'
  returning n.id
)
select pg_catalog.pg_notify($1, s.body)
from pg_catalog.unnest($2::uuid[], $3::text[]) s (id, body) join done d on d.id = s.id
