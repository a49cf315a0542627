-- Forgets what was parked for users ($1 sources, $2 ids) and targets ($4) that this
-- transaction has settled. $3: the users are locked; otherwise only those count that it
-- wrote: a duplicate or an overtaken event has settled nobody.
delete from rollcall.parked p
using (
  select b.source, b.id
  from unnest($1::text[], $2::text[]) as b (source, id)
  cross join lateral (
    select from rollcall.users u
    where u.source = b.source and u.id = b.id and ($3::boolean or u.xmin = pg_catalog.pg_current_xact_id()::xid)
    offset 0
  ) held
) s
where p.source = s.source and p.user_id = s.id and p.target = any($4::text[])
