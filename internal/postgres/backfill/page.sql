-- The next users of source $1 after $2, no more than $3: how many, and the last of them.
select pg_catalog.count(*), coalesce(pg_catalog.max(page.id), '')
from (select u.id from rollcall.users u where u.source = $1 and u.id > $2 order by u.id limit $3) page
