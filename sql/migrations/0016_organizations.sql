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

-- Views of what is alive, for applications to read. A role needs: grant usage on schema rollcall_api to it, and
-- grant select on the view. Where Rollcall's role may not create the schema, or views in it, they are left out; once
-- rollcall_api is there and is its own, the same statements make them.
do $$
declare
  schema constant regnamespace := pg_catalog.to_regnamespace('rollcall_api');
begin
  if not coalesce(pg_catalog.has_schema_privilege(schema::oid, 'create'), pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create')) then
    raise warning 'the views rollcall_api.live_users, live_organizations and live_memberships are left out: the role may not create the schema rollcall_api, or views in it';
    return;
  end if;
  if schema is null then
    create schema rollcall_api;
    revoke all on schema rollcall_api from public;
  end if;
  create view rollcall_api.live_users as
    select source, id, external_id, email, email_verified, email_confirmed_at, phone, phone_verified, phone_confirmed_at,
      username, first_name, last_name, full_name, avatar_url, raw_user_meta_data, raw_app_meta_data, email_addresses,
      external_accounts, is_anonymous, is_sso_user, locked, banned, banned_until, invited_at, created_at, updated_at,
      last_sign_in_at
    from rollcall.users where deleted_at is null and version is not null;
  create view rollcall_api.live_organizations as
    select source, id, name, slug, image_url, raw_public_metadata, max_allowed_memberships, created_by, role_set_key,
      created_at, updated_at
    from rollcall.organizations where deleted_at is null and version is not null;
  create view rollcall_api.live_memberships as
    select source, id, organization_id, user_id, role, role_name, permissions, raw_public_metadata, created_at, updated_at
    from rollcall.memberships where deleted_at is null;
  revoke all on rollcall_api.live_users, rollcall_api.live_organizations, rollcall_api.live_memberships from public;
end
$$;
