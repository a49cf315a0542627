-- What the catalog said about a target's table when a replica last found it unchanged. A start
-- that finds something else settles again the users who were touched since: a process that was
-- killed may have written them by statements for the former table.
create table rollcall.looks (
  target  text collate "C" primary key,
  catalog text not null,                  -- a hash of what statements depend on
  seen    pg_snapshot not null,           -- what it shows was written by statements that fitted the table
  at      timestamptz not null default clock_timestamp()
);

comment on table rollcall.looks is 'What the catalog last said about the table of a target.';
