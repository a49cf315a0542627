-- Corrects the outcome of events ($1 sources, $2 ids, in key order) that the roll had overtaken.
update rollcall.events e set outcome = 'stale'
from unnest($1::text[], $2::text[]) as b (source, id)
where e.source = b.source and e.id = b.id
