-- section body

-- Adds the claims of source %[1]s to an access token. Rollcall writes this text; rollcall claims status compares it
-- with the configuration. Whatever goes wrong becomes a warning, and the sign-in goes on without the claims.
#variable_conflict use_column
declare
  added jsonb;
begin
  select pg_catalog.jsonb_object_agg(c.name, c.value) filter (where c.value is not null) into added
  from (select) one
  left join lateral (
    select %[2]s
    from %[3]s u where u.source = %[4]s and u.id = $1 ->> 'user_id' and u.deleted_at is null
  ) new on true
  cross join lateral (values
    %[5]s
  ) c (name, value);
  if added is null or pg_catalog.jsonb_typeof($1 -> 'claims') is distinct from 'object' then
    return $1;
  end if;
  return pg_catalog.jsonb_set($1, '{claims}', ($1 -> 'claims') || added);
exception when query_canceled or assert_failure or others then
  raise warning 'rollcall: the claims of source %[1]s are left out: %% (%%)', sqlerrm, sqlstate;
  return $1;
end
-- section install
begin;
set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '1s';

do $rollcall$
begin
  if to_regnamespace('rollcall_api') is null then
    raise exception using errcode = '3F000', message = 'there is no schema rollcall_api',
      hint = 'Run rollcall migrate first.';
  end if;
  if not exists (select from pg_roles where rolname = %[6]s) then
    raise exception using errcode = '42704', message = 'there is no role ' || %[6]s || ', so this is no database of Supabase''s auth server',
      hint = 'Run this in the project''s database.';
  end if;
  if not has_schema_privilege('rollcall', 'usage') or not has_table_privilege('rollcall.users', 'select') then
    raise exception using errcode = '42501', message = format('the role %%I may not read rollcall.users, which the claims are made from', current_user),
      hint = 'Run this as Rollcall''s role, or grant usage on schema rollcall and select on rollcall.users to this role.';
  end if;
end
$rollcall$;

create or replace function rollcall_api.%[1]s(event jsonb) returns jsonb
language plpgsql stable security definer
%[7]s
as %[4]s%[2]s%[4]s;

comment on function rollcall_api.%[1]s(jsonb) is 'Adds claims to access tokens; made by rollcall claims install %[3]s.';

-- Nobody but the auth server may call it, whatever default privileges say.
do $rollcall$
declare
  o record;
begin
  for o in
    select case a.grantee when 0 then 'public' else a.grantee::regrole::text end as who
    from pg_proc p cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where p.oid = to_regprocedure('rollcall_api.%[1]s(jsonb)') and a.grantee <> p.proowner
  loop
    execute format('revoke all on function rollcall_api.%[1]s(jsonb) from %%s', o.who);
  end loop;
end
$rollcall$;
grant usage on schema rollcall_api to %[5]s;
grant execute on function rollcall_api.%[1]s(jsonb) to %[5]s;

do $rollcall$
begin
  if not has_schema_privilege(%[6]s, 'rollcall_api', 'usage') then
    raise exception using errcode = '42501', message = format('the role %%I may not grant the use of schema rollcall_api', current_user),
      hint = 'Run this as the owner of the schema, which is Rollcall''s role, or as a member that inherits from it.';
  end if;
end
$rollcall$;

commit;
