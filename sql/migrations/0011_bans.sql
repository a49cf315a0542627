-- Bans that end by themselves are found by their moment. An update that changes neither column
-- stays HOT.
create index on rollcall.users (banned_until) where banned;

-- Capture gives up for the transaction that waited in vain, and for no other: a setting that a
-- session has made by itself names none. The body is edited and not written anew, so that the
-- rest of it stays what it is.
do $$
declare
  body text := pg_get_functiondef(to_regprocedure('rollcall.capture()'));
begin
  body := replace(body, $q$current_setting('rollcall.capture_gave_up', true) = 'yes'$q$,
                        $q$current_setting('rollcall.capture_gave_up', true) = pg_current_xact_id()::text$q$);
  body := replace(body, $q$set_config('rollcall.capture_gave_up', 'yes', true)$q$,
                        $q$set_config('rollcall.capture_gave_up', pg_current_xact_id()::text, true)$q$);
  if body is not null then
    execute body;
  end if;
end
$$;

-- Which replicas live, and with which set of targets.
create table rollcall.replicas (
  id      text collate "C" primary key,
  config  integer not null,               -- as in rollcall.users
  seen_at timestamptz not null default now()
);

comment on table rollcall.replicas is 'The running replicas of rollcall serve; each notes itself every ten seconds.';
