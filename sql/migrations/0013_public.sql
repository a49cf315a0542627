-- PostgreSQL lets PUBLIC execute every new function. Who may write the roll keeps what it has.
do $$
declare
  f record;
  r record;
begin
  for f in select p.oid::regprocedure as name, p.proowner as owner from pg_proc p where p.pronamespace = 'rollcall'::regnamespace and p.prokind = 'f' loop
    for r in
      select distinct a.grantee::regrole as name
      from pg_class c cross join lateral aclexplode(c.relacl) a
      where c.oid = 'rollcall.users'::regclass and a.grantee <> 0::oid and a.grantee <> f.owner and a.privilege_type = 'UPDATE'
        and f.name <> to_regprocedure('rollcall.capture()')
    loop
      execute format('grant execute on function %s to %s', f.name, r.name);
    end loop;
    execute format('revoke all on function %s from public', f.name);
  end loop;
end
$$;
revoke all on all tables in schema rollcall from public;
revoke all on all sequences in schema rollcall from public;
revoke all on schema rollcall from public;
