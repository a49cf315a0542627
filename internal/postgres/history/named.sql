-- Events by their ids ($2), of a source ($1) or, if it is null, of any, in order of arrival.
select e.source, e.id, e.type, coalesce(e.user_id, ''), e.outcome, e.received_at, pg_catalog.octet_length(e.body), coalesce(e.reason, '')
from (select distinct source from kinds where $1::text is null or source = $1) k
cross join (select distinct id from pg_catalog.unnest($2::text[]) as n (id)) n
cross join lateral (
  select * from rollcall.events e where e.source = k.source and e.id = n.id collate "C" offset 0
) e
order by e.received_at, e.source, e.id
