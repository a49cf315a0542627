-- The next parked users of a target ($1) who are due for another try and meet a condition (%[1]s), $2
-- at most, the longest due first; without those who are refused because they are missing in a table that this one
-- references ($3 targets), for a reason of that table's own: they come after.
select p.source, p.user_id
from rollcall.parked p
where p.target = $1 and not p.given_up and p.retry_at <= pg_catalog.now() and %[1]s
  and not (p.sqlstate = '23503' and exists (
    select from rollcall.parked o
    where o.source = p.source and o.user_id = p.user_id and o.target = any($3::text[]) and o.sqlstate <> '23503'
  ))
order by p.retry_at
limit $2
