-- Sends notifications ($2 ids, $3 texts) on a channel ($1) and marks them as delivered.
with said as materialized (
  select rollcall.transition_of(s.id) as transition, k.name, s.body
  from unnest($2::text[], $3::text[]) s (id, body) join rollcall.notifiers k on k.mark = pg_catalog.substr(s.id, 21)
), done as (
  update rollcall.notifications n
  set state = 'delivered', attempts = n.attempts + 1, ended_at = pg_catalog.clock_timestamp(), error = null
  from said s
  where n.transition = s.transition and n.name = s.name and n.state = 'pending'
  returning s.body
)
select pg_catalog.pg_notify($1, d.body) from done d
