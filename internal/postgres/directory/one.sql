-- The user $1 as a table of users (%[1]s, its columns %[2]s) has them; null when it does not, or
-- when the metadata (its bytes as they are stored: %[3]s) takes more than $2, which is the other value.
select case when r.bytes <= $2::bigint then (select pg_catalog.row_to_json(c)::text from (select %[2]s from %[1]s where id = r.id) c) end, coalesce(r.bytes > $2::bigint, false)
from (select 1) one
left join lateral (select id, (%[3]s)::bigint as bytes from %[1]s where id = $1 offset 0) r on true
