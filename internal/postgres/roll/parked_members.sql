-- The parked memberships of users ($1 sources, $2 ids), with the targets ($4) for which they are parked; of users whose
-- row has no version yet, or an older one than $3, where that is given. %[1]s is the column of the membership that names
-- the user, or the organisation.
select p.target, p.source, p.user_id
from unnest($1::text[], $2::text[], $3::bigint[]) as b (source, id, version)
cross join lateral (
  select from rollcall.users u
  where u.source = b.source and u.id = b.id and (b.version is null or u.version is null or u.version < b.version)
  offset 0
) arrives
cross join lateral (
  select m.source, m.id from rollcall.memberships m
  where m.source = b.source and m.%[1]s = b.id and m.deleted_at is null
  offset 0
) m
cross join lateral (
  select p.target, p.source, p.user_id from rollcall.parked p
  where p.source = m.source and p.user_id = m.id and p.target = any($4::text[])
  offset 0
) p
