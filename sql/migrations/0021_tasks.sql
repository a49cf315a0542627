-- Long work that the admin API was asked for, and answers to requests that may come twice.
create table rollcall.tasks (
  id             bigint generated always as identity primary key,
  kind           text collate "C" not null,
  subject        text collate "C" not null default '',  -- a source or a target; empty for all
  options        jsonb not null default '{}',
  requested_by   text not null,                         -- the holder of the admin token
  state          text not null default 'waiting',       -- running, succeeded, failed, stopped
  done           bigint not null default 0,
  total          bigint not null default 0,             -- 0 while it is unknown
  stop_requested boolean not null default false,
  requested_at   timestamptz not null default clock_timestamp(),
  started_at     timestamptz,
  ended_at       timestamptz,
  result         jsonb,
  error          text
);
create index tasks_open on rollcall.tasks (kind, id) where ended_at is null;

comment on table rollcall.tasks is 'Reconciliations, backfills and checks that the admin API was asked for.';

create table rollcall.answers (
  holder       text collate "C" not null,               -- of the admin token
  key          text collate "C" not null,               -- Idempotency-Key
  request      bytea not null,                          -- SHA-256 of method, path and body
  status       integer,                                 -- null while the request is under way
  content_type text,
  body         bytea,
  created_at   timestamptz not null default clock_timestamp(),
  primary key (holder, key)
);
create index on rollcall.answers (created_at);

comment on table rollcall.answers is 'What the admin API has answered to requests with an Idempotency-Key, for a day.';
revoke all on rollcall.tasks, rollcall.answers from public;
