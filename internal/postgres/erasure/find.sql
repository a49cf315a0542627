-- The events of a source ($1) that have a body which names a user ($2) and is about no user of the roll: one that
-- could not be read, or that announced them with another id. They are named by their id and by addresses: of the
-- roll ($3), and such as are in the bodies of their own events.
with own as materialized (
  select e.body from rollcall.events e where e.source = $1 and e.user_id = $2 and e.body is not null
), names as materialized (
  select pg_catalog.convert_to(n.name, 'UTF8') as name
  from (
    select $2 as name
    union
    select pg_catalog.unnest($3::text[])
    union
    select (pg_catalog.regexp_matches(pg_catalog.encode(o.body, 'escape'), '[^\s"<>@\\]+@[^\s"<>@\\]+\.[^\s"<>@\\]+', 'g'))[1] from own o
  ) n
)
select e.id
from rollcall.events e
where e.source = $1 and e.body is not null and e.user_id is distinct from $2
  and not exists (select from rollcall.users u where u.source = e.source and u.id = e.user_id)
  and exists (select from names n where pg_catalog.position(e.body, n.name) > 0)
