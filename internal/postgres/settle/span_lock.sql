-- Locks the roll rows of a source ($1) after one user ($2) up to another ($3), in key order.
-- "for update", because it leaves the transaction's own xid in xmax, by which the statements
-- that follow know which it holds: a user may have arrived meanwhile.
select pg_catalog.count(*)
from (
  select from rollcall.users u
  where u.source = $1 and u.id > $2 and u.id <= $3
  order by u.source, u.id
  for update
) held
