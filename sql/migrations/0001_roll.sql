-- Collation "C" on every key: locks are taken in key order by SQL and by Go alike,
-- whatever the database's own collation is.

create table rollcall.users (
  source             text collate "C" not null,
  id                 text collate "C" not null,
  version            bigint not null,            -- microseconds since 1970, the provider's own updated_at
  changed_at         timestamptz not null default clock_timestamp(),
  external_id        text,
  email              text,
  email_verified     boolean,
  email_confirmed_at timestamptz,
  phone              text,
  phone_verified     boolean,
  phone_confirmed_at timestamptz,
  username           text,
  first_name         text,
  last_name          text,
  full_name          text,
  avatar_url         text,
  raw_user_meta_data jsonb,
  raw_app_meta_data  jsonb,
  is_anonymous       boolean,
  banned             boolean,
  banned_until       timestamptz,
  created_at         timestamptz,
  updated_at         timestamptz,
  last_sign_in_at    timestamptz,
  deleted_at         timestamptz,                -- set: a tombstone, final
  primary key (source, id)
) with (fillfactor = 85);                        -- room for HOT updates: no index beyond the key

comment on table rollcall.users is 'The roll: the newest known state of every user. Written by Rollcall only.';

create table rollcall.events (
  source      text collate "C" not null,
  id          text collate "C" not null,
  type        text not null,
  user_id     text collate "C",
  outcome     text not null default 'applied',
  received_at timestamptz not null,
  body        bytea,
  primary key (source, id)
);

comment on table rollcall.events is 'Every verified message once; body is what a replay decodes again.';

create table rollcall.parked (
  target   text collate "C" not null,
  source   text collate "C" not null,
  user_id  text collate "C" not null,
  since    timestamptz not null default now(),
  attempts integer not null default 1,
  retry_at timestamptz not null,
  sqlstate text not null,
  error    text not null,
  given_up boolean not null default false,
  primary key (source, user_id, target)          -- in lock order: users before targets
);

comment on table rollcall.parked is 'Users that a target does not follow for the moment, and why.';

-- Runs a target's statement for many users and finds those it refuses: the whole list
-- first, then each half by itself, down to single users. Whatever PostgreSQL says counts:
-- an expression can raise any code for one user's data, and so can an application's
-- trigger. Only a lock that was waited for in vain is the caller's, who asks who holds it.
-- Everything but the refused users is done when it returns.
create function rollcall.settle_apart(statement text, sources text[], ids text[])
returns table (source text, id text, state text, message text)
language plpgsql as $$
declare
  half integer := cardinality(ids) / 2;
  failed_state text;
  failed_message text;
begin
  begin
    execute statement using sources, ids, true;
    return;
  exception when assert_failure or others then
    get stacked diagnostics failed_state = returned_sqlstate, failed_message = message_text;
    if failed_state = '55P03' then
      raise;
    end if;
  end;
  if half = 0 then
    return query select sources[1], ids[1], failed_state, failed_message;
    return;
  end if;
  return query select * from rollcall.settle_apart(statement, sources[:half], ids[:half]);
  return query select * from rollcall.settle_apart(statement, sources[half + 1:], ids[half + 1:]);
end
$$;
