-- Whether a user ($1 source, $2 id), whose row is locked, is living.
select deleted_at is null from rollcall.users where source = $1 and id = $2
