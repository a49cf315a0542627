-- Begins to fill target $1 with the set of targets $2 into the table $3, or leaves the one
-- that was interrupted as it is, to be gone on with. It begins anew after one that has
-- finished, with another set of targets, when the table was emptied meanwhile ($4: it is
-- empty now), and where the snapshot says nothing any more: too many transactions ago, or on
-- another server.
insert into rollcall.backfills as b (target, config, table_file, seen)
values ($1, $2, pg_catalog.pg_relation_filenode($3::oid), pg_catalog.pg_current_snapshot())
on conflict (target) do update set
  config = excluded.config, table_file = excluded.table_file, seen = excluded.seen,
  started_at = default, finished_at = null, source = '', user_id = '', visited = 0
where b.finished_at is not null or b.config <> excluded.config
   or b.table_file is distinct from excluded.table_file or $4
   or pg_catalog.pg_snapshot_xmin(excluded.seen)::text::bigint
     - pg_catalog.pg_snapshot_xmin(b.seen)::text::bigint not between 0 and 1000000000
