-- The announcements of a source ($1) that are due to be looked up, for the first time when $2
-- has passed; $3 at most.
select id, coalesce(user_id, ''), body, received_at
from rollcall.events
where source = $1 and outcome = 'announced' and coalesce(look_at, received_at) <= pg_catalog.now()
  and (look_at is not null or received_at <= pg_catalog.now() - $2::interval)
order by coalesce(look_at, received_at)
limit $3
