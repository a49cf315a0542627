-- Those of the announced ($1 ids, $2 e-mails, $3 phones, all may be null; $4 since when they may
-- have been created) a table of users (%[1]s) has: by the id, else by what else is known (%[2]s, in %[3]s).
-- In their order.
select coalesce(a.id, b.id)::text, pg_catalog.statement_timestamp()
from (
  select a.id, pg_catalog.lower(a.email) as email, a.phone, a.since, a.n -- once: an address may be as long as a body
  from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) with ordinality as a (id, email, phone, since, n)
  offset 0
) s
left join lateral (
  select t.id from %[1]s t where t.id = s.id
  offset 0
) a on true
left join lateral (
  select t.id from %[3]s t where a.id is null and %[2]s
  order by t.created_at limit 1
) b on true
order by s.n
