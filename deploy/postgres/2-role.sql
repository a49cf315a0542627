-- The role that Rollcall connects as, with the rights it uses and no others.
create role rollcall login;

-- It makes its own schema, rollcall, and from then on owns it.
do $$ begin
  execute format('grant connect, create on database %I to rollcall', current_database());
end $$;

-- The tables of the targets. Delete is for those with on_delete: delete.
grant usage on schema public, deadstock to rollcall;
grant select, insert, update, delete on public.profiles, public."Member" to rollcall;
grant select, insert, update on deadstock.users to rollcall;
