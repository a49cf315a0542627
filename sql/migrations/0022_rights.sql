-- Who may write the roll of users may write the tables that came after it.
do $$
declare
  r record;
begin
  for r in
    select distinct a.grantee::regrole as name
    from pg_class c cross join lateral aclexplode(c.relacl) a
    where c.oid = 'rollcall.users'::regclass and a.grantee not in (0::oid, c.relowner) and a.privilege_type = 'UPDATE'
  loop
    execute format('grant select, insert, update, delete on rollcall.organizations, rollcall.memberships, rollcall.endings, '
      'rollcall.replays, rollcall.receipts, rollcall.tasks, rollcall.answers to %s', r.name);
    execute format('grant select, insert on rollcall.audit_log, rollcall.erased to %s', r.name);
  end loop;
end
$$;
