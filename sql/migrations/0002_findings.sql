-- Users that no webhook announces: what the trigger of a capture leaves for Rollcall, and
-- what was found out by comparing.

-- The set of targets for which the row was last settled: a backfill finds by it the users that a
-- replica with another configuration has moved meanwhile.
alter table rollcall.users add column config integer not null default 0;

comment on column rollcall.users.changed_at is 'the moment as of which this state is known';

create table rollcall.outbox (
  id      bigint generated always as identity primary key, -- of one user in the order of commits
  source  text collate "C" not null,
  user_id text collate "C" not null,
  gone    boolean not null,               -- the row was deleted
  data    jsonb not null,                 -- the columns that Rollcall reads; no hash, no token
  at      timestamptz not null default clock_timestamp(),
  xid     xid8 not null default pg_current_xact_id() -- the transaction that made the change
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000); -- it is emptied as fast as it fills

create index on rollcall.outbox (user_id) where gone;

comment on table rollcall.outbox is 'Changes of users that the trigger rollcall_capture noted in their own transactions.';

-- The trigger of a table of users; its argument is the source. It is deferred to the commit:
-- there the changes come in the order in which they were made, also those that another
-- trigger made in between. It must never fail or delay what the user is doing, so whatever
-- goes wrong becomes a warning, and it waits for no lock longer than 100 ms, once per
-- transaction: the rest of that transaction's changes is left to reconciliation. It names no column, neither here nor in "create trigger":
-- a column named there could not be altered by the provider's own migrations any more. It
-- sends no notification: one fails at commit when the server's queue is full, and commits
-- that notify wait for each other.
create function rollcall.capture() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set timezone = 'UTC'
as $$
declare
  kept constant text[] := array[
    'id', 'email', 'phone', 'raw_user_meta_data', 'raw_app_meta_data', 'is_anonymous',
    'email_confirmed_at', 'phone_confirmed_at', 'banned_until', 'created_at', 'updated_at',
    'last_sign_in_at', 'deleted_at'];
  -- Of one who is gone, the key and the version.
  left_behind constant text[] := array['id', 'created_at', 'updated_at'];
  -- What every sign-in changes is no reason to note one.
  idle constant text[] := array['updated_at', 'last_sign_in_at'];
  before jsonb;
  after jsonb;
begin
  if current_setting('rollcall.capture_gave_up', true) = 'yes' then
    return null;
  end if;
  begin
    if tg_op <> 'INSERT' then
      before := (select jsonb_object_agg(key, value) from jsonb_each(to_jsonb(old)) where key = any(kept));
    end if;
    if tg_op <> 'DELETE' then
      after := (select jsonb_object_agg(key, value) from jsonb_each(to_jsonb(new)) where key = any(kept));
    end if;
    if before->>'id' is distinct from after->>'id' and before is not null then
      insert into rollcall.outbox (source, user_id, gone, data) values (tg_argv[0], before->>'id', true,
        (select jsonb_object_agg(key, value) from jsonb_each(before) where key = any(left_behind)));
      before := null;
    end if;
    if tg_op = 'INSERT' then -- deleted and inserted again in one transaction: never gone for any other session
      delete from rollcall.outbox o
      where o.user_id = after->>'id' and o.gone and o.source = tg_argv[0] and o.xid = pg_current_xact_id();
    end if;
    if after is not null and (before is null or after - idle is distinct from before - idle) then
      insert into rollcall.outbox (source, user_id, gone, data) values (tg_argv[0], after->>'id', false, after);
    end if;
  exception when others then
    if sqlstate = '55P03' then
      perform set_config('rollcall.capture_gave_up', 'yes', true);
    end if;
    raise warning 'rollcall could not note a change of %.%: % (%); reconciliation will find it',
      tg_table_schema, tg_table_name, sqlerrm, sqlstate;
  end;
  return null;
end
$$;

revoke all on function rollcall.capture() from public;

create table rollcall.reconciliations (
  id          bigint generated always as identity primary key,
  source      text collate "C" not null,
  listed      text not null,              -- the table of users, or whatever else was listed
  started_at  timestamptz not null default now(),
  finished_at timestamptz,                -- null: under way, or interrupted
  position    text,                       -- the last user compared; where the next run goes on
  created     bigint not null default 0,
  updated     bigint not null default 0,
  deleted     bigint not null default 0,
  unchanged   bigint not null default 0,
  failed      bigint not null default 0,
  error       text                        -- why it ended early; null with finished_at: a success
);

create index on rollcall.reconciliations (source, id);

comment on table rollcall.reconciliations is 'Comparisons of the roll with all users of a provider.';

create table rollcall.backfills (
  target      text collate "C" primary key,
  config      integer not null,           -- the set of targets it was begun with
  table_file  oid,                        -- of the target's table: truncate gives it another
  seen        pg_snapshot not null,       -- what was committed by then has been visited, or is about to be
  started_at  timestamptz not null default now(),
  finished_at timestamptz,                -- null: under way, or interrupted
  source      text collate "C" not null default '', -- the last user visited
  user_id     text collate "C" not null default '',
  visited     bigint not null default 0
);

comment on table rollcall.backfills is 'How far a target has been filled from the roll.';

create table rollcall.checks (
  target     text collate "C" not null,
  source     text collate "C" not null,
  state      text not null,               -- present, missing, extra, different, parked
  users      bigint not null,
  checked_at timestamptz not null,
  primary key (target, source, state)
);

comment on table rollcall.checks is 'What the last check of a target has counted.';
