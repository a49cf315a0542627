-- The rolls of organisations and of users' memberships of them. They have the columns of
-- rollcall.users beside their fields, and are written by the same statements.
create table rollcall.organizations (
  source                  text collate "C" not null,
  id                      text collate "C" not null,
  version                 bigint,                -- as in rollcall.users
  changed_at              timestamptz not null default clock_timestamp(),
  config                  integer not null default 0,
  name                    text,
  slug                    text,
  image_url               text,
  raw_public_metadata     jsonb,
  max_allowed_memberships bigint,
  created_by              text,
  role_set_key            text,
  created_at              timestamptz,
  updated_at              timestamptz,
  deleted_at              timestamptz,
  kept                    text[],
  primary key (source, id)
) with (fillfactor = 85);

create table rollcall.memberships (
  source              text collate "C" not null,
  id                  text collate "C" not null,
  version             bigint,
  changed_at          timestamptz not null default clock_timestamp(),
  config              integer not null default 0,
  organization_id     text collate "C",
  user_id             text collate "C",
  role                text,
  role_name           text,
  permissions         jsonb,
  raw_public_metadata jsonb,
  created_at          timestamptz,               -- with the id, one life: who joins again has a later one
  updated_at          timestamptz,
  deleted_at          timestamptz,
  kept                text[],
  primary key (source, id)
) with (fillfactor = 85);
create index on rollcall.memberships (source, organization_id, user_id);
create index on rollcall.memberships (source, user_id);

create table rollcall.endings (
  roll   text collate "C" not null,
  source text collate "C" not null,
  id     text collate "C" not null,
  primary key (roll, source, id)
);

comment on table rollcall.endings is 'Users and organisations that were deleted with more memberships than one transaction ends.';
comment on table rollcall.organizations is 'The newest known state of every organisation. Written by Rollcall only.';
comment on table rollcall.memberships is
  'The newest known state of every membership. One whose user or organisation is deleted is deleted, too.';
revoke all on rollcall.organizations, rollcall.memberships, rollcall.endings from public;
-- Who may write the roll of users may write these.
do $$
declare
  r record;
begin
  for r in
    select distinct a.grantee::regrole as name
    from pg_class c cross join lateral aclexplode(c.relacl) a
    where c.oid = 'rollcall.users'::regclass and a.grantee not in (0::oid, c.relowner) and a.privilege_type = 'UPDATE'
  loop
    execute format('grant select, insert, update, delete on rollcall.organizations, rollcall.memberships, rollcall.endings to %s', r.name);
  end loop;
end
$$;
