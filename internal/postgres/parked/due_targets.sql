-- The targets of which a parked user is due for another try.
select t.target
from pg_catalog.unnest($1::text[]) as t (target)
where exists (
  select from rollcall.parked p where p.target = t.target and not p.given_up and p.retry_at <= pg_catalog.now())
