-- What is known of a user ($1 source, $2 id) before they are erased: whether anything is, whether they are living,
-- and their addresses.
select u.id is not null or exists (select from rollcall.memberships m where m.source = $1 and m.user_id = $2)
    or exists (select from rollcall.parked p where p.source = $1 and p.user_id = $2)
    or exists (select from rollcall.events e where e.source = $1 and e.user_id = $2)
    or exists (select from rollcall.outbox o where o.source = $1 and o.user_id = $2),
  coalesce(u.id is not null and u.deleted_at is null, false),
  pg_catalog.array_remove(array[u.email, u.phone]
    || array(select pg_catalog.jsonb_path_query(u.email_addresses, '$[*].email_address') #>> '{}'::text[]), null)
from (select) one left join rollcall.users u on u.source = $1 and u.id = $2
