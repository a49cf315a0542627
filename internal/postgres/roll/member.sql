-- A user ($1 source, $2 id) as the roll has them, and the targets for which they are parked. One
-- row, also of nobody. %[1]s are the columns of the record new.
select now.at, u.id is not null, coalesce(u.deleted_at is not null, false), coalesce(u.version, 0),
  greatest(now.at - u.changed_at, interval '0'),
  (select pg_catalog.row_to_json(n)::text from (select %[1]s) n),
  array(select target::text from rollcall.parked p where p.source = $1 and p.user_id = $2)
from (select pg_catalog.statement_timestamp() as at) now
left join rollcall.users u on u.source = $1 and u.id = $2
