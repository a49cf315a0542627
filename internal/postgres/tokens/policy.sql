-- The rows of the target's table that a user may read. Each helper is in a subquery of its own, which PostgreSQL runs
-- once per statement and not once per row. Rollcall's role writes all rows: it must own the table, or have bypassrls.
grant select on %[1]s to %[2]s;
drop policy if exists rollcall_read on %[1]s;
create policy rollcall_read on %[1]s for select to %[2]s
  using (%[3]s);
alter table %[1]s enable row level security;

commit;
