-- How far a replay of a range of events has got, by what it was asked for: the same command goes on there.
create table rollcall.replays (
  asked    text collate "C" primary key,
  since    timestamptz not null,           -- the range, as it was when it began
  until    timestamptz not null,
  position text not null default '',       -- the last event replayed
  counts   jsonb not null default '{}',    -- events by what became of them
  began_at timestamptz not null default now()
);

comment on table rollcall.replays is 'Replays of ranges of events that are under way, or were interrupted.';
revoke all on rollcall.replays from public;

-- Indexes by which events are looked for: events_kinds serves any choice of sources, types and outcomes, newest
-- first, because there are few of each; events_of_user those of one user. Building one blocks writers. So where the
-- table is large, they are left to serve and to rollcall migrate, which build them concurrently; a partitioned
-- table can't be indexed so.
do $$
begin
  if pg_catalog.pg_relation_size('rollcall.events') > 128 * 1024 * 1024 then
    raise notice 'the indexes of rollcall.events are built concurrently, after this migration';
    return;
  end if;
  create index events_kinds on rollcall.events (source, type, outcome, received_at);
  create index events_of_user on rollcall.events (user_id, received_at) where user_id is not null;
end
$$;
