-- The users whose bans are over and who are still banned in the roll, $1 at most.
select source, id from rollcall.users where banned and banned_until <= pg_catalog.now() order by banned_until limit $1
