-- Forgets what was parked for users ($1 sources, $2 ids) that an operator has erased from the
-- roll: nobody can settle them, and they would be due for ever.
delete from rollcall.parked p
using unnest($1::text[], $2::text[]) as b (source, id)
where p.source = b.source and p.user_id = b.id
  and not exists (select from rollcall.users u where u.source = b.source and u.id = b.id)
