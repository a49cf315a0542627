-- The combinations of source, type and outcome that events have, found one after the other by the index
-- events_kinds from its end: its beginning may be full of rows that retention has deleted.
with recursive kinds as (
  (select source, type, outcome from rollcall.events order by source desc, type desc, outcome desc limit 1)
  union all
  select n.* from kinds k cross join lateral (
    select e.source, e.type, e.outcome from rollcall.events e
    where (e.source, e.type, e.outcome) < (k.source, k.type, k.outcome)
    order by e.source desc, e.type desc, e.outcome desc limit 1
  ) n
)
