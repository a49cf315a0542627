-- Notes what the catalog says ($2) about the table of target $1, and the snapshot $3, whose
-- users are all settled by statements that fit.
insert into rollcall.looks (target, catalog, seen) values ($1, $2, $3::pg_snapshot)
on conflict (target) do update set catalog = excluded.catalog, seen = excluded.seen, at = excluded.at
