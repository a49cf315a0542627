-- How many notifications are kept of each name that is or was configured.
select coalesce(s.name, n.name), coalesce(n.pending, 0), coalesce(n.delivered, 0), coalesce(n.skipped, 0),
  coalesce(n.failed, 0), n.oldest, s.since
from rollcall.notifiers s
full join (
  select name, pg_catalog.count(*) filter (where state = 'pending') as pending,
    pg_catalog.count(*) filter (where state = 'delivered') as delivered,
    pg_catalog.count(*) filter (where state = 'skipped') as skipped,
    pg_catalog.count(*) filter (where state = 'failed') as failed,
    pg_catalog.min(noted_at) filter (where state = 'pending') as oldest
  from rollcall.notifications group by name
) n on n.name = s.name
order by 1
