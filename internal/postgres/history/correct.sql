-- Corrects events ($1 sources, $2 ids): the outcome ($3), and where it is not null the type ($4) and the user ($5);
-- $6 says whether the body becomes $7.
update rollcall.events e set
  outcome = c.outcome, type = coalesce(c.type, e.type), user_id = coalesce(c.user_id, e.user_id),
  body = case when c.rewritten then c.body else e.body end
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::bytea[])
  as c (source, id, outcome, type, user_id, rewritten, body)
where e.source = c.source and e.id = c.id
