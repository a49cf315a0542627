-- The newest notifications of a name ($1, '' for all) in a state ($2, '' for any) with an id ($3, '' for any), $4 at
-- most.
select rollcall.notification_id(n.transition, coalesce(k.mark, '')), n.name, t.type, t.source, t.row_id, n.state,
  n.attempts, n.noted_at,
  case when n.state = 'pending' then n.due_at end, n.ended_at, coalesce(n.error, '')
from rollcall.notifications n
join rollcall.transitions t on t.id = n.transition
left join rollcall.notifiers k on k.name = n.name
where ($1::text = '' or n.name = $1) and ($2::text = '' or n.state = $2)
  and ($3::text = '' or n.transition = rollcall.transition_of($3) and k.mark = pg_catalog.substr($3, 21))
order by n.transition desc, n.name limit $4
