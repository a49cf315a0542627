-- A page of a table of users (%[1]s, its columns %[2]s) beside the roll's rows of the same
-- ids: $1 the source, $2 the id after which the page begins or null, $3 how many users of the
-- table, null for all. Both sides are of one moment.
-- As texts in collation "C", uuids have the order that they have themselves. The last page goes
-- on to the end of the roll: to the last of all characters. Both ends must be conditions of the
-- roll's key, or each page reads all that is left of the roll. So must its beginning be one of the
-- table's, in a plan that is made once for the first page and the others, or each page reads all
-- that was before it: hence "distinct" instead of an "or".
with page as materialized (
  select id::text collate "C" as id, pg_catalog.row_to_json(r)::text as data
  from (select %[2]s from %[1]s) r
  where r.id >= coalesce($2::text::uuid, '00000000-0000-0000-0000-000000000000') and r.id is distinct from $2::text::uuid
  order by r.id limit $3::bigint
)
select coalesce(p.id, u.id), p.data, u.*, pg_catalog.statement_timestamp()
from page p
full join (
  select version, %[3]s, changed_at, kept from rollcall.users
  where source = $1 and id > coalesce($2, '')
    and id <= (
      select case when $3::bigint is null or pg_catalog.count(*) < $3
        then pg_catalog.chr(1114111) collate "C" else pg_catalog.max(id) end
      from page)
) u on u.id = p.id
order by coalesce(p.id, u.id)
