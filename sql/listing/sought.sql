-- Who of the announced ($1 ids, $2 e-mails, $3 phones, all may be null; $4 since when he may
-- have been created) a table of users (%[1]s, its columns %[2]s) has: by his id, else by what
-- else is known of him (%[3]s). In their order.
select coalesce(a.data, b.data), pg_catalog.statement_timestamp()
from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) with ordinality as s (id, email, phone, since, n)
left join lateral (
  select (select pg_catalog.row_to_json(r) from (select %[2]s) r)::text as data
  from %[1]s t where t.id = s.id
  offset 0
) a on true
left join lateral (
  select (select pg_catalog.row_to_json(r) from (select %[2]s) r)::text as data
  from %[1]s t where a.data is null and %[3]s
  order by t.created_at limit 1
) b on true
order by s.n
