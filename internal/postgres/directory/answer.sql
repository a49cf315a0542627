-- Records what has become of announcements of a source ($1): ids $2, outcomes $3, and for
-- those that are still announced the next look $4.
update rollcall.events e set outcome = b.outcome, look_at = b.look_at
from unnest($2::text[], $3::text[], $4::timestamptz[]) as b (id, outcome, look_at)
where e.source = $1 and e.id = b.id and e.outcome = 'announced'
