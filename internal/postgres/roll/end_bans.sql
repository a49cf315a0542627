-- Ends the bans of users ($1 sources, $2 ids) that are over. Their rows are locked already, so this
-- sees what a later event has made of them. The version stays: an event of the same version or a
-- newer one still counts.
update rollcall.users u set banned = false
from unnest($1::text[], $2::text[]) b (source, id)
where u.source = b.source and u.id = b.id and u.banned and u.banned_until <= pg_catalog.now()
