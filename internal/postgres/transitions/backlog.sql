-- How many notifications of each name wait, and since when the oldest does.
select name, pg_catalog.count(*), pg_catalog.min(noted_at)
from rollcall.notifications where state = 'pending' group by name
