-- Whether there are rules of replicas that have not noted themselves for a time ($1), or triggers that no rule wants:
-- for transitions of users ($2) or of memberships ($3).
select exists (
  select from rollcall.rules r
  where not exists (
    select from rollcall.replicas a where a.id = r.replica and a.seen_at > pg_catalog.now() - $1::interval
  )
) or exists (
  select from (
    values ('rollcall.users'::regclass, $2::text[]), ('rollcall.memberships'::regclass, $3::text[])
  ) w (roll, types)
  join pg_catalog.pg_trigger t on t.tgrelid = w.roll and t.tgname = 'note_new_rows'
  where not exists (select from rollcall.rules r where r.transitions && w.types)
)
