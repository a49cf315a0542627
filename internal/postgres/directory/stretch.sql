-- The next users of a table (the rows of page, after the id $2, null for the beginning, $3 at most): how many, the
-- last of them, and whether the roll has nobody of the source $1 between.
with page as materialized (select id from (%[1]s) rows), span as (
  select pg_catalog.count(*) as users, coalesce(pg_catalog.max(id collate "C"), $2::text, '') as last from page
)
select users, last, not exists (
  select from rollcall.users u where u.source = $1 and u.id > coalesce($2::text, '') and u.id <= span.last collate "C")
from span
