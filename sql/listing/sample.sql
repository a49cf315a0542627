-- Users of the roll ($1 the source), $4 at most, any ones: of the first hundred behind each of
-- some places ($2) in the order of ids, those who live and of whom nothing has been learned
-- since $3. What is read doesn't grow with the roll.
select id from (
  select distinct w.id
  from unnest($2::text[]) as s (start)
  cross join lateral (
    select id, deleted_at, changed_at from rollcall.users
    where source = $1 and id >= s.start collate "C"
    order by id limit 100
  ) w
  where w.deleted_at is null and w.changed_at < $3
) near
order by random() limit $4
