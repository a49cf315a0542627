-- A transaction that looks at users of a table source locks their rows of the roll first. A user
-- that the roll does not know gets a placeholder for that long, which has no version. It is never
-- committed.
alter table rollcall.users alter column version drop not null;
