-- Removes the placeholders among users ($1 sources, $2 ids), whose rows are locked.
delete from rollcall.users u
using unnest($1::text[], $2::text[]) as b (source, id)
where u.source = b.source and u.id = b.id and u.version is null
