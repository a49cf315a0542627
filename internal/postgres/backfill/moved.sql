-- The users of the sources $1 that a replica with another set of targets than $2 has moved
-- since the snapshot $3: their roll row was written by a transaction that was not committed
-- then. Neither a clock nor changed_at can tell: a transaction commits later than it writes,
-- and what a listing has found carries the listing's moment. age() sorts out cheaply what is
-- older than the snapshot; for the rest xmin, which has 32 bits, gets the upper half that
-- puts it before now.
select u.source, u.id
from rollcall.users u,
     (select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as xid,
        pg_catalog.age(pg_catalog.pg_snapshot_xmin($3::pg_snapshot)::xid) as age) now
where u.source = any($1::text[]) and u.config <> $2
  and pg_catalog.age(u.xmin) <= now.age
  and not pg_catalog.pg_visible_in_snapshot(
    (now.xid - ((now.xid - u.xmin::text::bigint) & 4294967295))::text::xid8, $3::pg_snapshot)
