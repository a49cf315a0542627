-- What happened to users and memberships, for notifications: one row for each transition that a notification wants.
-- Triggers on the rolls note them. The triggers are there only while a replica has a notification, because PostgreSQL
-- keeps every row that a statement writes for a trigger that might look at it.

-- What a notification may say of a user or a membership, as it was and as it became.
create type rollcall.noted as (
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
  is_anonymous       boolean,
  is_sso_user        boolean,
  locked             boolean,
  banned             boolean,
  banned_until       timestamptz,
  invited_at         timestamptz,
  created_at         timestamptz,
  organization_id    text,
  user_id            text,
  role               text,
  role_name          text
);

create table rollcall.transitions (
  id      bigint generated always as identity primary key,
  at      timestamptz not null default clock_timestamp(),
  type    text not null,
  source  text collate "C" not null,
  row_id  text collate "C" not null,       -- of the user or the membership
  user_id text collate "C",
  was     rollcall.noted,                  -- null: there was nothing, or it was deleted
  became  rollcall.noted,                  -- null: deleted
  names   text[] collate "C"               -- the notifications that are to have it; null: they have
);
create index transitions_new on rollcall.transitions (id) where names is not null;

-- The planner keeps no values of columns that tell who a person is.
alter table rollcall.transitions alter column was set statistics 0, alter column became set statistics 0;

create table rollcall.notifications (
  id         uuid primary key default gen_random_uuid(),
  name       text collate "C" not null,
  transition bigint not null references rollcall.transitions on delete cascade,
  state      text not null default 'pending',   -- delivered, skipped, failed
  attempts   integer not null default 0,
  noted_at   timestamptz not null,              -- as in rollcall.transitions
  due_at     timestamptz not null default clock_timestamp(),
  ended_at   timestamptz,
  error      text,
  unique (transition, name)
);
create index notifications_due on rollcall.notifications (name, due_at) where state = 'pending';
create index notifications_failed on rollcall.notifications (name) where state = 'failed';

-- Since when a notification has been configured, until when its receiver wants nothing, and which transitions of which
-- sources each replica wants for it.
create table rollcall.notifiers (
  name         text collate "C" primary key,
  since        timestamptz not null,
  paused_until timestamptz
);
create table rollcall.rules (
  replica     text collate "C" not null,
  name        text collate "C" not null,
  transitions text[] not null,
  sources     text[] collate "C",               -- null: all
  since       timestamptz not null,             -- as in rollcall.notifiers
  primary key (replica, name)
);

comment on table rollcall.transitions is 'What happened to users and memberships, for notifications.';
comment on table rollcall.notifications is 'A transition to be said to one receiver, and whether it was.';
comment on table rollcall.notifiers is 'Since when each notification has been configured.';
comment on table rollcall.rules is 'The transitions that replicas want to be noted.';

-- The triggers. A placeholder and a tombstone have deleted_at: who has none is alive. What comes to life is new: that
-- is said of those only who were created after the notification was configured. Nothing here raises an error, or the
-- event that changes the roll would fail; so there is no cast, no constraint and no limit. Rows old and new are joined
-- by hash: the plan is made once in a session, perhaps for a single row, and may serve thousands. The first questions
-- save the rest, which takes 0.1 ms: an upsert that only inserts fires the trigger of updates, too.
create function rollcall.note_users() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_nestloop = off set enable_mergejoin = off set jit = off as $$
begin
  if not exists (select from new_rows) then
    return null;
  end if;
  if tg_op = 'INSERT' then
    if not exists (select from rollcall.rules r where r.transitions && array['appeared', 'confirmed']) then
      return null;
    end if;
    with wanted as materialized (
      select distinct r.name, r.transitions, r.sources, r.since from rollcall.rules r
    )
    insert into rollcall.transitions (type, source, row_id, user_id, became, names)
    select * from (
      select x.type, x.source, x.id, x.id, x.became, array(
        select r.name from wanted r
        where x.type = any (r.transitions) and (r.sources is null or x.source = any (r.sources)) and x.created_at > r.since
      ) as names
      from (
        select n.source, n.id, n.created_at, unnest(case when n.email_verified is true or n.phone_verified is true
            then array['appeared', 'confirmed'] else array['appeared'] end) as type,
          row(n.external_id, n.email, n.email_verified, n.email_confirmed_at, n.phone, n.phone_verified, n.phone_confirmed_at,
            n.username, n.first_name, n.last_name, n.full_name, n.avatar_url, n.is_anonymous, n.is_sso_user, n.locked, n.banned,
            n.banned_until, n.invited_at, n.created_at, null, null, null, null)::rollcall.noted as became
        from new_rows n where n.deleted_at is null
      ) x
    ) t where cardinality(t.names) > 0;
  else
    with wanted as materialized (
      select distinct r.name, r.transitions, r.sources, r.since from rollcall.rules r
    )
    insert into rollcall.transitions (type, source, row_id, user_id, was, became, names)
    select * from (
      select x.type, x.source, x.id, x.id, x.was, x.became, array(
        select r.name from wanted r
        where x.type = any (r.transitions) and (r.sources is null or x.source = any (r.sources)) and (x.lived or x.created_at > r.since)
      ) as names
      from (
        select n.source, n.id, n.created_at, o.deleted_at is null as lived, unnest(case
            when o.deleted_at is not null and n.deleted_at is not null then '{}'::text[]
            when n.deleted_at is not null then array['deleted']
            else array_remove(array[
              case when o.deleted_at is not null then 'appeared' end,
              case when (n.email_verified is true or n.phone_verified is true)
                and (o.deleted_at is not null or (o.email_verified is true or o.phone_verified is true) is not true) then 'confirmed' end,
              case when o.deleted_at is null and n.email is distinct from o.email then 'email_changed' end,
              case when o.deleted_at is null and o.is_anonymous is true and n.is_anonymous is not true then 'upgraded' end,
              case when o.deleted_at is null and o.banned is not true and n.banned is true then 'banned' end,
              case when o.deleted_at is null and o.banned is true and n.banned is not true then 'unbanned' end
            ], null)
          end) as type,
          case when o.deleted_at is null then row(o.external_id, o.email, o.email_verified, o.email_confirmed_at, o.phone, o.phone_verified, o.phone_confirmed_at,
            o.username, o.first_name, o.last_name, o.full_name, o.avatar_url, o.is_anonymous, o.is_sso_user, o.locked, o.banned,
            o.banned_until, o.invited_at, o.created_at, null, null, null, null)::rollcall.noted end as was,
          case when n.deleted_at is null then row(n.external_id, n.email, n.email_verified, n.email_confirmed_at, n.phone, n.phone_verified, n.phone_confirmed_at,
            n.username, n.first_name, n.last_name, n.full_name, n.avatar_url, n.is_anonymous, n.is_sso_user, n.locked, n.banned,
            n.banned_until, n.invited_at, n.created_at, null, null, null, null)::rollcall.noted end as became
        from new_rows n join old_rows o on o.source = n.source and o.id = n.id
      ) x
    ) t where cardinality(t.names) > 0;
  end if;
  return null;
end
$$;

create function rollcall.note_memberships() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_nestloop = off set enable_mergejoin = off set jit = off as $$
begin
  if not exists (select from new_rows) then
    return null;
  end if;
  if tg_op = 'INSERT' then
    if not exists (select from rollcall.rules r where r.transitions && array['joined']) then
      return null;
    end if;
    with wanted as materialized (
      select distinct r.name, r.transitions, r.sources, r.since from rollcall.rules r
    )
    insert into rollcall.transitions (type, source, row_id, user_id, became, names)
    select * from (
      select 'joined', n.source, n.id, n.user_id,
        row(null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
          n.created_at, n.organization_id, n.user_id, n.role, n.role_name)::rollcall.noted,
        array(
          select r.name from wanted r
          where 'joined' = any (r.transitions) and (r.sources is null or n.source = any (r.sources)) and n.created_at > r.since
        ) as names
      from new_rows n where n.deleted_at is null
    ) t where cardinality(t.names) > 0;
  else
    with wanted as materialized (
      select distinct r.name, r.transitions, r.sources, r.since from rollcall.rules r
    )
    insert into rollcall.transitions (type, source, row_id, user_id, was, became, names)
    select * from (
      select x.type, x.source, x.id, x.user_id, x.was, x.became, array(
        select r.name from wanted r
        where x.type = any (r.transitions) and (r.sources is null or x.source = any (r.sources)) and (x.lived or x.created_at > r.since)
      ) as names
      from (
        select n.source, n.id, n.user_id, n.created_at, o.deleted_at is null as lived, case
            when o.deleted_at is not null and n.deleted_at is null then 'joined'
            when o.deleted_at is null and n.deleted_at is not null then 'left'
            when o.deleted_at is null and o.role is distinct from n.role then 'role_changed'
          end as type,
          case when o.deleted_at is null then row(null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
            null, null, null, o.created_at, o.organization_id, o.user_id, o.role, o.role_name)::rollcall.noted end as was,
          case when n.deleted_at is null then row(null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
            null, null, null, n.created_at, n.organization_id, n.user_id, n.role, n.role_name)::rollcall.noted end as became
        from new_rows n join old_rows o on o.source = n.source and o.id = n.id
      ) x where x.type is not null
    ) t where cardinality(t.names) > 0;
  end if;
  return null;
end
$$;

-- Puts the triggers on a roll that the rules want, or takes those off that no rule wants. Only the owner of the rolls
-- may, so it runs with the owner's rights. It asks first, because both lock the roll: writers wait for the one, readers
-- for the other, too.
create function rollcall.watch_roll(roll text, remove boolean) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare
  wanted boolean;
  present boolean;
begin
  if roll not in ('users', 'memberships') then
    raise 'there are no transitions of the roll %', roll;
  end if;
  select exists (select from rollcall.rules r where r.transitions && case roll when 'memberships' then array['joined', 'left', 'role_changed']
    else array['appeared', 'confirmed', 'email_changed', 'upgraded', 'banned', 'unbanned', 'deleted'] end) into wanted;
  select exists (select from pg_trigger t where t.tgrelid = ('rollcall.' || roll)::regclass and t.tgname = 'note_new_rows') into present;
  if wanted and not present and not remove then
    execute format('create trigger note_new_rows after insert on rollcall.%I referencing new table as new_rows '
      'for each statement execute function rollcall.note_%1$s()', roll);
    execute format('create trigger note_changed_rows after update on rollcall.%I referencing old table as old_rows new table as new_rows '
      'for each statement execute function rollcall.note_%1$s()', roll);
  elsif present and not wanted and remove then
    execute format('drop trigger note_new_rows on rollcall.%I', roll);
    execute format('drop trigger note_changed_rows on rollcall.%I', roll);
  end if;
end
$$;

revoke all on rollcall.transitions, rollcall.notifications, rollcall.notifiers, rollcall.rules from public;
revoke all on function rollcall.note_users(), rollcall.note_memberships(), rollcall.watch_roll(text, boolean) from public;

-- Who may write the roll of users may write these tables.
do $$
declare
  r record;
begin
  for r in
    select distinct a.grantee::regrole as name
    from pg_class c cross join lateral aclexplode(c.relacl) a
    where c.oid = 'rollcall.users'::regclass and a.grantee not in (0::oid, c.relowner) and a.privilege_type = 'UPDATE'
  loop
    execute format('grant select, insert, update, delete on rollcall.transitions, rollcall.notifications, rollcall.notifiers, rollcall.rules to %s', r.name);
    execute format('grant execute on function rollcall.watch_roll(text, boolean) to %s', r.name);
  end loop;
end
$$;
