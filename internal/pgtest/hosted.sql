-- A hosted Supabase project's database, after auth.sql: its roles and what they may do there.
-- %[1]s is the end of every role's name, since roles are the whole server's; %[2]s is the database.
-- As on Supabase, "owner" (there: postgres) owns the database and bypasses row security. It has
-- usage on schema auth without the grant option, and is not in the role that owns auth.users.
create role supabase_admin_%[1]s nologin;
create role supabase_auth_admin_%[1]s nologin noinherit createrole;
create role owner_%[1]s login createdb createrole bypassrls;
create role anon_%[1]s login noinherit;
create role authenticated_%[1]s login noinherit;
create role service_role_%[1]s login noinherit bypassrls;
create role authenticator_%[1]s login noinherit;
create role stranger_%[1]s login; -- has only what PUBLIC has
grant anon_%[1]s, authenticated_%[1]s, service_role_%[1]s to authenticator_%[1]s, owner_%[1]s;

alter database %[2]s owner to owner_%[1]s;
alter schema auth owner to supabase_admin_%[1]s;
alter table auth.users owner to supabase_auth_admin_%[1]s;
grant all on schema auth to supabase_auth_admin_%[1]s;
grant usage on schema auth to owner_%[1]s, anon_%[1]s, authenticated_%[1]s, service_role_%[1]s;
set role supabase_auth_admin_%[1]s;
grant all on auth.users to owner_%[1]s with grant option;
reset role;

grant all on schema public to owner_%[1]s;
grant usage on schema public to anon_%[1]s, authenticated_%[1]s, service_role_%[1]s;
alter default privileges for role owner_%[1]s in schema public grant all on tables to anon_%[1]s, authenticated_%[1]s, service_role_%[1]s;
alter default privileges for role owner_%[1]s in schema public grant all on functions to anon_%[1]s, authenticated_%[1]s, service_role_%[1]s;
alter default privileges for role owner_%[1]s in schema public grant all on sequences to anon_%[1]s, authenticated_%[1]s, service_role_%[1]s;
