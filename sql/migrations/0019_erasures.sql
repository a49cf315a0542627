-- A user whose personal data was erased: a tombstone that takes nothing on any more.
alter table rollcall.users add column erased_at timestamptz;

comment on column rollcall.users.erased_at is
  'set: the personal data was erased, and nothing more is kept of what the provider says; null: not erased';

-- An index of rollcall.users by hand: building one would read all of a large roll while writers wait.
create table rollcall.erased (
  source text collate "C" not null,
  id     text collate "C" not null,
  primary key (source, id)
);

comment on table rollcall.erased is 'Which users have erased_at.';

create table rollcall.audit_log (
  id     bigint generated always as identity primary key,
  at     timestamptz not null default clock_timestamp(),
  who    text not null,
  action text not null,
  object text not null,
  result text not null
);

comment on table rollcall.audit_log is 'What operators have changed. It names ids, and holds no other personal data.';

-- The planner keeps values of columns that it has seen until it sees others. Of tables that are empty nearly always,
-- those of a user who was erased would stay.
alter table rollcall.outbox alter column data set statistics 0;
alter table rollcall.parked alter column error set statistics 0;

-- Which configuration a replica runs with, since when, and since when it runs at all.
alter table rollcall.replicas
  add column configuration text,
  add column started_at timestamptz,
  add column reloaded_at timestamptz;

comment on column rollcall.replicas.configuration is 'a hash of the configuration, without its secrets; null: an older version';

revoke all on rollcall.audit_log, rollcall.erased from public;
