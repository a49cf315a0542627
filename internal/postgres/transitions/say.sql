-- Sends notifications ($2 ids, $3 texts) on a channel ($1) and marks them as delivered.
with said as materialized (
  select pg_catalog.substr(s.id, 5)::uuid as id, s.body from unnest($2::text[], $3::text[]) s (id, body)
), done as (
  update rollcall.notifications n
  set state = 'delivered', attempts = n.attempts + 1, ended_at = pg_catalog.clock_timestamp(), error = null
  where n.id in (select id from said) and n.state = 'pending'
  returning n.id
)
select pg_catalog.pg_notify($1, s.body)
from said s join done d on d.id = s.id
