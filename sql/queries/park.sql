-- Parks single users, whose roll rows the transaction has written or locked:
-- $1 targets, $2 sources, $3 user ids, $4 sqlstates, $5 errors.
insert into rollcall.parked as p (target, source, user_id, retry_at, sqlstate, error)
select b.target, b.source, b.user_id, now() + interval '2 seconds', b.sqlstate, b.error
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as b (target, source, user_id, sqlstate, error)
order by b.source collate "C", b.user_id collate "C", b.target collate "C"
on conflict (source, user_id, target) do update set
  attempts = p.attempts + 1,
  retry_at = excluded.retry_at,
  sqlstate = excluded.sqlstate,
  error = excluded.error,
  given_up = false
