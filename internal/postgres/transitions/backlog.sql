-- How many notifications of each name wait, made or not, and since when the oldest does.
select name, pg_catalog.count(*), pg_catalog.min(noted_at)
from (
  select name, noted_at from rollcall.notifications where state = 'pending'
  union all
  select pg_catalog.unnest(names), at from rollcall.transitions where names is not null
) w
group by name
