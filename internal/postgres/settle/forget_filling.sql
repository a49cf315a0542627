-- Forgets how far target $1 was filled, unless that was its table of now ($2). A partitioned
-- table has no file to know it by.
delete from rollcall.backfills
where target = $1
  and (table_file is distinct from pg_catalog.pg_relation_filenode($2::oid)
    or table_file is null and finished_at is not null)
