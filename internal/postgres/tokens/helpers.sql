-- One transaction: if any of it fails, all is as before.
begin;
set local lock_timeout = '1s';

-- Who asks: the user of the verified token that PostgREST, and so Supabase, has put into the session (its claim sub),
-- or the user that a server of your own has named by rollcall_api.be. It is null for no user, and where the session's
-- setting can't be read.
create or replace function rollcall_api.me() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $rollcall$
declare
  claims text := nullif(current_setting('request.jwt.claims', true), '');
begin
  if claims is null then
    return nullif(current_setting('app.auth_uid', true), '');
  end if;
  return nullif(claims::jsonb ->> 'sub', '');
exception when others then
  return null;
end
$rollcall$;

-- The organizations of which this user is a member now, as the roll has them.
create or replace function rollcall_api.my_organizations() returns setof text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $rollcall$
  select m.organization_id from rollcall_api.live_memberships m where m.user_id = (select rollcall_api.me())
$rollcall$;

-- For a server of your own: names the user of a verified token until the transaction ends. Grant it to the role of that
-- server only, and never let a client call it.
create or replace function rollcall_api.be(id text) returns void
language sql set search_path = pg_catalog, pg_temp
as $rollcall$
  select set_config('request.jwt.claims', '', true), set_config('app.auth_uid', coalesce($1, ''), true)
$rollcall$;

revoke all on function rollcall_api.me(), rollcall_api.my_organizations(), rollcall_api.be(text) from public;
grant usage on schema rollcall_api to %[1]s;
grant execute on function rollcall_api.me(), rollcall_api.my_organizations() to %[1]s;
