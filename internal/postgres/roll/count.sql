-- How many users of each source are alive and deleted, and how many are parked for a target at least. It reads the
-- whole roll. $1 names the targets of users.
select coalesce(u.source, p.source), coalesce(u.live, 0), coalesce(u.deleted, 0), coalesce(p.parked, 0)
from (
  select source, pg_catalog.count(*) filter (where deleted_at is null) as live,
    pg_catalog.count(*) filter (where deleted_at is not null) as deleted
  from rollcall.users
  where version is not null -- else a placeholder
  group by source
) u
full join (
  select source, pg_catalog.count(distinct user_id) as parked
  from rollcall.parked
  where target = any ($1::text[])
  group by source
) p on p.source = u.source
