-- Notes that target $1 has nothing to be filled with, if the sources $4 have no users. $2 the
-- set of targets, $3 the table.
insert into rollcall.backfills (target, config, table_file, seen, finished_at)
select $1, $2, pg_catalog.pg_relation_filenode($3::oid), pg_catalog.pg_current_snapshot(), pg_catalog.now()
where not exists (select from rollcall.users where source = any($4::text[]))
on conflict do nothing
