-- Lets Rollcall (role %[3]s) follow the users of %[9]s for source %[10]s: a trigger that notes whose
-- row changes, and functions that read the rows which Rollcall asks for. Run it as a role that may
-- put triggers on %[9]s and read it whole: on Supabase in the SQL editor. It is one transaction, and
-- may be run again, also after an upgrade of Rollcall.
set local search_path = pg_catalog;

do $rollcall$
begin
  if to_regnamespace('rollcall_provider') is null then
    create schema rollcall_provider;
  elsif (select nspowner::regrole::text from pg_namespace where nspname = 'rollcall_provider') <> quote_ident(current_user) then
    raise exception using errcode = '42501', message = format('the schema rollcall_provider belongs to %%s, and this role is %%I',
      (select nspowner::regrole from pg_namespace where nspname = 'rollcall_provider'), current_user),
      hint = 'Run this as the role that owns the schema.';
  end if;
end
$rollcall$;

-- Whose row has changed, and no data. The ids begin where those of rollcall.outbox never come.
create table if not exists rollcall_provider.outbox (
  id      bigint generated always as identity (start with 4611686018427387904) primary key,
  source  text collate "C" not null,
  user_id text collate "C" not null,
  gone    boolean not null,               -- the row was deleted
  at      timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000); -- it is emptied as fast as it fills

-- The trigger; its argument is the source. It never fails the change of a user: whatever goes wrong
-- becomes a warning. It waits for no lock longer than 100 ms, once per transaction. It names no
-- column of the table in a way that would stop the provider's own migrations, and it notes nothing
-- where only updated_at or last_sign_in_at differ, as at a sign-in.
create or replace function rollcall_provider.capture() returns trigger
language plpgsql security definer
set search_path = '' set lock_timeout = '100ms'
as $rollcall$
declare
  noted constant text[] := array[%[8]s];
  before jsonb;
  after jsonb;
begin
  if pg_catalog.current_setting('rollcall.capture_gave_up', true) = pg_catalog.pg_current_xact_id()::text then
    return null;
  end if;
  begin
    if tg_op <> 'INSERT' then
      before := pg_catalog.to_jsonb(old);
    end if;
    if tg_op <> 'DELETE' then
      after := pg_catalog.to_jsonb(new);
    end if;
    if before is not null and before->>'id' is distinct from after->>'id' then
      insert into rollcall_provider.outbox (source, user_id, gone) values (tg_argv[0], before->>'id', true);
      before := null;
    end if;
    if after is not null and (before is null or exists (
      select from pg_catalog.unnest(noted) c where before->c is distinct from after->c
    )) then
      insert into rollcall_provider.outbox (source, user_id, gone) values (tg_argv[0], after->>'id', false);
    end if;
  exception when others then
    if sqlstate = '55P03' then
      perform pg_catalog.set_config('rollcall.capture_gave_up', pg_catalog.pg_current_xact_id()::text, true);
    end if;
    raise warning 'rollcall could not note a change of %%.%%: %% (%%); reconciliation will find it',
      tg_table_schema, tg_table_name, sqlerrm, sqlstate;
  end;
  return null;
end
$rollcall$;

-- The reader. It is text that PostgreSQL looks at when it runs, so that it stops no migration of the
-- provider, and a column that the table lacks is null: its name is then found in "missing". A row
-- that row security would hide raises an error. One of an older version may return other columns.
do $rollcall$
declare
  o record;
begin
  for o in
    select p.oid::regprocedure as what from pg_proc p where p.pronamespace = 'rollcall_provider'::regnamespace
      and p.proname in ('%[5]s_of_ids', '%[5]s_after', '%[5]s_known_by', '%[5]s_living', '%[5]s_count')
  loop
    execute format('drop function %%s', o.what);
  end loop;
end
$rollcall$;

create or replace function rollcall_provider.%[5]s_of_ids(uuid[])
returns table (id uuid, %[11]s)
language plpgsql stable security definer
set search_path = '' set row_security = off
as $rollcall$
#variable_conflict use_column
begin
  return query
  select r.* from (select %[6]s) missing
  cross join lateral (select u.id, %[7]s from %[1]s u where u.id = any($1) offset 0) r;
end
$rollcall$;

create or replace function rollcall_provider.%[5]s_after(uuid, bigint)
returns table (id uuid, %[11]s)
language plpgsql stable security definer
set search_path = '' set row_security = off
as $rollcall$
#variable_conflict use_column
begin
  return query
  select r.* from (select %[6]s) missing
  cross join lateral (
    select u.id, %[7]s from %[1]s u
    where u.id >= coalesce($1, '00000000-0000-0000-0000-000000000000') and u.id is distinct from $1
    order by u.id limit $2
  ) r;
end
$rollcall$;

-- The first user who has an e-mail address or a phone number, and was created since a moment.
create or replace function rollcall_provider.%[5]s_known_by(text, text, timestamptz)
returns table (id uuid, %[11]s)
language plpgsql stable security definer
set search_path = '' set row_security = off
as $rollcall$
#variable_conflict use_column
begin
  return query
  select r.* from (select null::uuid as instance_id, %[6]s) missing
  cross join lateral (
    select u.id, %[7]s from %[1]s u
    where created_at >= $3 and (phone::text = $2 or pg_catalog.lower(email::text) = pg_catalog.lower($1)
      and (instance_id = '00000000-0000-0000-0000-000000000000' or instance_id is null))
    order by created_at limit 1
  ) r;
end
$rollcall$;

create or replace function rollcall_provider.%[5]s_living()
returns table (id uuid)
language plpgsql stable security definer
set search_path = '' set row_security = off
as $rollcall$
#variable_conflict use_column
begin
  return query
  select r.* from (select null::timestamptz as deleted_at) missing
  cross join lateral (select u.id from %[1]s u where deleted_at is null or deleted_at < '0002-01-01' offset 0) r;
end
$rollcall$;

create or replace function rollcall_provider.%[5]s_count()
returns bigint
language plpgsql stable security definer
set search_path = '' set row_security = off
as $rollcall$
begin
  return (select pg_catalog.count(*) from %[1]s);
end
$rollcall$;

-- No other role has a right here, whatever the defaults are.
do $rollcall$
declare
  o record;
begin
  for o in
    select distinct s.what, case when a.grantee = 0 then 'public' else a.grantee::regrole::text end as grantee
    from (
      select 'schema rollcall_provider' as what, nspowner as owner, nspacl as acl from pg_namespace where nspname = 'rollcall_provider'
      union all
      select case relkind when 'S' then 'sequence ' else 'table ' end || oid::regclass, relowner, relacl
      from pg_class where relnamespace = 'rollcall_provider'::regnamespace and relkind in ('r', 'S')
      union all
      select 'function ' || oid::regprocedure, proowner, coalesce(proacl, acldefault('f', proowner))
      from pg_proc where pronamespace = 'rollcall_provider'::regnamespace
    ) s cross join lateral aclexplode(s.acl) a
    where a.grantee <> s.owner
  loop
    execute format('revoke all on %%s from %%s cascade', o.what, o.grantee);
  end loop;
  for o in
    select oid::regprocedure as what from pg_proc
    where pronamespace = 'rollcall_provider'::regnamespace and prorettype <> 'trigger'::regtype
  loop
    execute format('grant execute on function %%s to %%I', o.what, %[4]s);
  end loop;
end
$rollcall$;
grant usage on schema rollcall_provider to %[3]s;
grant select, delete on rollcall_provider.outbox to %[3]s;

-- Last, because it locks the table. A trigger of an older version, or of another source, is replaced.
do $rollcall$
begin
  if exists (
    select from pg_trigger
    where tgrelid = %[12]s::regclass and tgname = 'rollcall_capture' and not tgisinternal and tgenabled in ('O', 'A')
      and tgfoid = 'rollcall_provider.capture()'::regprocedure and replace(encode(tgargs, 'escape'), '\000', '') = %[2]s
  ) then
    return;
  end if;
  begin
    if exists (select from pg_trigger where tgrelid = %[12]s::regclass and tgname = 'rollcall_capture' and not tgisinternal) then
      drop trigger rollcall_capture on %[1]s;
    end if;
  exception when insufficient_privilege then
    raise exception using errcode = '42501', message = sqlerrm, hint =
      'Another trigger rollcall_capture is there. Run: rollcall capture remove %[10]s; then run this script again.';
  end;
  create constraint trigger rollcall_capture after insert or update or delete on %[1]s
  deferrable initially deferred for each row execute function rollcall_provider.capture(%[2]s);
end
$rollcall$;
