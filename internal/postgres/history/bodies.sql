-- The bodies of events ($1 sources, $2 ids) that have one.
select b.source, b.id, e.body
from unnest($1::text[], $2::text[]) as b (source, id)
cross join lateral (
  select e.body from rollcall.events e where e.source = b.source and e.id = b.id and e.body is not null offset 0
) e
