-- The users of the sources $1 whose roll row was written or locked by a transaction that the
-- snapshot $2 does not show as committed: all who can have been settled since. Who was given up for the target $3 was
-- not: only an event or a retry begins anew. xmin tells who
-- wrote the row, xmax who locked it last. Each has 32 bits; the upper half is the one that puts
-- it before now, as in backfill/moved.sql. age() sorts out cheaply what is older than the snapshot.
-- All users, if the snapshot says nothing any more: it is too many transactions old, or of a server
-- whose last transactions this one has not got.
select u.source, u.id
from rollcall.users u, (
  select next as xid, pg_catalog.age(pg_catalog.pg_snapshot_xmin(seen)::xid) as age,
         next - pg_catalog.pg_snapshot_xmin(seen)::text::bigint not between 0 and 1000000000
           or pg_catalog.pg_snapshot_xmax(seen)::text::bigint > next as lost
  from (select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as next,
          $2::pg_snapshot as seen) s
) now
where u.source = any($1::text[]) and not exists (
  select from rollcall.parked p where p.source = u.source and p.user_id = u.id and p.target = $3 and p.given_up
) and (
  now.lost
  or pg_catalog.age(u.xmin) <= now.age
    and not pg_catalog.pg_visible_in_snapshot(
      (now.xid - ((now.xid - u.xmin::text::bigint) & 4294967295))::text::xid8, $2::pg_snapshot)
  or u.xmax <> '0'::xid and pg_catalog.age(u.xmax) <= now.age
    and not pg_catalog.pg_visible_in_snapshot(
      (now.xid - ((now.xid - u.xmax::text::bigint) & 4294967295))::text::xid8, $2::pg_snapshot)
)
