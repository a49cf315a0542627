-- The notifications of a name ($1) that are due, the longest first, $2 at most, none in a pause; of some ids only if $3
-- is not null.
-- What is of no type of $4, or no source of $5, is not wanted any more; null for all.
-- The first blank is a condition over new and old, the second what is to be said beside source and id.
select rollcall.notification_id(n.transition, k.mark), n.attempts, t.type, t.at, t.source, t.row_id,
  case when t.type = any ($4::text[]) is not false and t.source = any ($5::text[]) is not false then (%[1]s
  ) is true else false end, %[2]s
from (
  select * from rollcall.notifications d
  where d.name = $1 and d.state = 'pending' and d.due_at <= pg_catalog.clock_timestamp()
    and ($3::text[] is null
      or d.transition = any (array(select rollcall.transition_of(i) from pg_catalog.unnest($3::text[]) i)))
    and not exists (
      select from rollcall.notifiers p where p.name = $1 and p.paused_until > pg_catalog.clock_timestamp()
    )
  order by d.due_at limit $2
) n
join rollcall.notifiers k on k.name = n.name
join rollcall.transitions t on t.id = n.transition
cross join lateral (select t.source, t.row_id as id, (t.became).*) new
cross join lateral (select t.source, t.row_id as id, (t.was).*) old
order by n.due_at
