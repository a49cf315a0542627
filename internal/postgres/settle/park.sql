-- Parks single users, whose roll rows the transaction has written or locked:
-- $1 targets, $2 sources, $3 user ids, $4 sqlstates, $5 errors, $6 how many seconds to wait
-- at least. $7: how many tries this adds. 1 is another try: the pauses grow, and after $8 tries the user is
-- given up. 0: the user is settled again without news about them; attempts and a later retry_at stay.
-- null is news, such as an event: the tries begin anew. Without news given_up stays, if it was set.
insert into rollcall.parked as p (target, source, user_id, retry_at, sqlstate, error)
select b.target, b.source, b.user_id,
  pg_catalog.now() + pg_catalog.make_interval(secs => greatest(b.pause, 2)), b.sqlstate, b.error
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[]) as b (target, source, user_id, sqlstate, error, pause)
order by b.source collate "C", b.user_id collate "C", b.target collate "C"
on conflict (source, user_id, target) do update set
  attempts = coalesce(p.attempts + $7::integer, 1),
  -- 2, 5, 15, 60 s, 5 min, then hourly
  retry_at = greatest(excluded.retry_at, case $7
    when 0 then p.retry_at
    when 1 then pg_catalog.now()
      + pg_catalog.make_interval(secs => (array[2, 5, 15, 60, 300, 3600])[least(p.attempts + 1, 6)])
  end),
  sqlstate = excluded.sqlstate,
  error = excluded.error,
  given_up = $7 is not null and (p.given_up or $7 = 1 and p.attempts + 1 >= $8::integer)
