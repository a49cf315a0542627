-- Locks the roll rows of the organisations of memberships ($1 sources, $2 ids), and other organisations ($3, $4), in
-- key order. Two memberships may stand for one row of a target: as every other writer of that row holds the
-- organisation, too, the later of them sees which membership is the newest. A membership keeps its organisation.
select pg_catalog.count(*)
from (
  select m.source collate "C" as source, m.organization_id collate "C" as id
  from unnest($1::text[], $2::text[]) as b (source, id)
  cross join lateral (
    select m.source, m.organization_id from rollcall.memberships m where m.source = b.source and m.id = b.id offset 0
  ) m
  union
  select b.source, b.id from unnest($3::text[], $4::text[]) as b (source, id)
  order by source, id
) b
cross join lateral (
  select from rollcall.organizations o where o.source = b.source and o.id = b.id for no key update
) held
