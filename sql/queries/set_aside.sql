-- Has parked users of a target ($1; $2 sources, $3 ids) wait for an hour: its statements hang
-- for them alone ($4 the sqlstate, $5 the error). After $6 tries they are given up.
update rollcall.parked p
set attempts = p.attempts + 1, retry_at = now() + interval '1 hour', given_up = p.attempts + 1 >= $6, sqlstate = $4, error = $5
from unnest($2::text[], $3::text[]) as b (source, id)
where p.target = $1 and p.source = b.source and p.user_id = b.id
