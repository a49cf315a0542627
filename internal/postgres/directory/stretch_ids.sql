-- The living users of a table (its rows after the id $2, null for the beginning, $3 at most) up to $1, each with
-- the moment.
select id, pg_catalog.statement_timestamp() from (%[1]s) rows where id <= $1::text collate "C" and %[2]s order by id
