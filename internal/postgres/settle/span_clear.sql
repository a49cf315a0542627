-- Forgets what was parked for target $4 of the users of a source ($1) after one user ($2) up
-- to another ($3), which this transaction has locked or written, and settled.
delete from rollcall.parked p
where p.source = $1 and p.user_id > $2 and p.user_id <= $3 and p.target = $4
  and exists (
    select from rollcall.users u
    where u.source = p.source and u.id = p.user_id and pg_catalog.pg_current_xact_id()::xid in (u.xmax, u.xmin))
