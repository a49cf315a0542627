-- Writes down what a check has counted: $1 targets, $2 sources, $3 states, $4 users, $5 when.
insert into rollcall.checks (target, source, state, users, checked_at)
select b.target, b.source, b.state, b.users, $5
from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) as b (target, source, state, users)
