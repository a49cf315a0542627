-- The user $1 as a table of users (%[1]s, its columns %[2]s) has him; null when it does not.
select (select pg_catalog.row_to_json(r)::text from (select %[2]s from %[1]s where id = $1) r)
