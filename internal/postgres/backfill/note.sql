-- How far the backfill of target $1 that began at $2 has come: the last user visited ($3, $4),
-- how many ($5), the snapshot up to which the moved were visited ($6), whether that was all ($7).
update rollcall.backfills
set source = $3, user_id = $4, visited = $5, seen = $6::pg_snapshot,
    finished_at = case when $7 then pg_catalog.clock_timestamp() end
where target = $1 and started_at = $2 and finished_at is null -- a process that was stopped may come late
