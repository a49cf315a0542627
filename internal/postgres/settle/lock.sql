-- Locks the roll rows of users ($1 sources, $2 ids) in key order; what follows in the
-- transaction sees their newest state. Lateral, so that a plan made while the table
-- was empty still goes by the key.
select pg_catalog.count(*)
from (
  select b.source, b.id
  from unnest($1::text[], $2::text[]) as b (source, id)
  order by b.source collate "C", b.id collate "C"
) b
cross join lateral (
  select from rollcall.users u where u.source = b.source and u.id = b.id for no key update
) held
