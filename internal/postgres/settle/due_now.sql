-- Has parked users ($1 sources, $2 ids) of a target ($3) tried at once, those who were given up as well.
update rollcall.parked p set retry_at = pg_catalog.now(), given_up = false
where (p.source, p.user_id, p.target) in (
  select p.source, p.user_id, p.target
  from unnest($1::text[], $2::text[]) as b (source, id)
  cross join lateral (
    select p.source, p.user_id, p.target from rollcall.parked p
    where p.source = b.source and p.user_id = b.id and p.target = $3
    for update skip locked
  ) p
)
