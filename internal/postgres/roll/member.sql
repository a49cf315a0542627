-- A row of a roll by what names it ($1 source; %[2]s), and the targets for which it is parked. One row, also of
-- what is not there. %[1]s are the columns of the record new.
select now.at, u.id is not null, coalesce(u.id, ''), coalesce(u.deleted_at is not null, false), coalesce(u.version, 0),
  greatest(now.at - u.changed_at, interval '0'),
  (select pg_catalog.row_to_json(n)::text from (select %[1]s) n),
  array(select target::text from rollcall.parked p where p.source = $1 and p.user_id = u.id)
from (select pg_catalog.statement_timestamp() as at) now
left join lateral (select * from rollcall.users u where u.source = $1 and %[2]s) u on true
