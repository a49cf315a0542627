-- Rows of a roll (%[3]s; $1 the source, after id $2, $3 at most) that no list has shown (%[1]s is
-- where those are noted) and that nothing has been learned of since $4. %[2]s are their columns. A condition may be
-- added.
select u.id, null::text, u.version, %[2]s, u.changed_at, u.kept, pg_catalog.statement_timestamp()
from %[3]s u
where u.source = $1 and u.id > $2 and u.deleted_at is null and u.changed_at < $4
  and not exists (select from %[1]s l where l.source = u.source and l.id = u.id)%[4]s
order by u.id limit $3
