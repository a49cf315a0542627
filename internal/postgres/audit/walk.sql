-- The next users of a source ($1) after an id ($2), $3 at most, in key order.
select id from rollcall.users where source = $1 and id > $2 order by id limit $3
