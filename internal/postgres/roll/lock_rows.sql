-- Locks the roll rows of users ($1 sources, $2 ids) in key order. One that the roll does not know gets an empty
-- placeholder, which has no version and is never committed. The next statement sees every commit that was
-- made before the locks were had.
insert into rollcall.users as u (source, id, version, deleted_at)
select b.source, b.id, null, pg_catalog.now()
from unnest($1::text[], $2::text[]) as b (source, id)
order by b.source collate "C", b.id collate "C"
on conflict (source, id) do update set version = u.version where false
