-- Ends memberships of users who are deleted ($1 sources, $2 ids; their rows are locked), %[2]d at most, and
-- returns them. Where there may be more, it notes so; where there are none, it removes the note. How many it has found
-- decides, not how many it has ended: another transaction may end some of them meanwhile. %[1]s is the column of the
-- membership that names the user, or the organisation; %[3]s the name of its roll; %[4]s empties a membership.
with ending as materialized (
  select m.source, m.id
  from unnest($1::text[], $2::text[]) as b (source, id)
  cross join lateral (
    select from rollcall.users u
    where u.source = b.source and u.id = b.id and u.deleted_at is not null and u.version is not null
    offset 0
  ) gone
  cross join lateral (
    select m.source, m.id from rollcall.memberships m
    where m.source = b.source and m.%[1]s = b.id and m.deleted_at is null
    offset 0
  ) m
  limit %[2]d
), held as materialized (
  select m.source, m.id
  from (select * from ending order by source collate "C", id collate "C") e
  cross join lateral (
    select m.source, m.id from rollcall.memberships m where m.source = e.source and m.id = e.id for no key update
  ) m
), noted as (
  insert into rollcall.endings (roll, source, id)
  select %[3]s, b.source, b.id from unnest($1::text[], $2::text[]) as b (source, id)
  where (select pg_catalog.count(*) from ending) >= %[2]d
  on conflict do nothing
), done as (
  delete from rollcall.endings e
  using unnest($1::text[], $2::text[]) as b (source, id)
  where e.roll = %[3]s and e.source = b.source and e.id = b.id and (select pg_catalog.count(*) from ending) < %[2]d
)
update rollcall.memberships m
set deleted_at = pg_catalog.now(), changed_at = pg_catalog.clock_timestamp(), config = $3::integer,
  %[4]s
from held h
where m.source = h.source and m.id = h.id and m.deleted_at is null
returning m.source, m.id
