-- Takes the bodies of this transaction's events that are about users who were erased. Their rows of the roll are
-- locked, in a statement before: an erasure comes before this, or sees the events. Every batch calls it once a
-- user was erased. It is a function because PostgreSQL opens rollcall.events and its indexes for an update
-- even if that finds nothing, which takes 15 µs.
create function rollcall.take_bodies(sources text[], ids text[], users text[]) returns void
language plpgsql as $$
begin
  update rollcall.events e set body = null
  from unnest(sources, ids, users) as b (source, id, user_id)
  cross join lateral (
    select from rollcall.erased u where u.source = b.source and u.id = b.user_id offset 0
  ) erased
  where e.source = b.source and e.id = b.id and e.xmin = pg_catalog.pg_current_xact_id()::xid;
end
$$;

revoke all on function rollcall.take_bodies(text[], text[], text[]) from public;

-- Who may write the roll of users may call it.
do $$
declare
  r record;
begin
  for r in
    select distinct a.grantee::regrole as name
    from pg_class c cross join lateral aclexplode(c.relacl) a
    where c.oid = 'rollcall.users'::regclass and a.grantee not in (0::oid, c.relowner) and a.privilege_type = 'UPDATE'
  loop
    execute format('grant execute on function rollcall.take_bodies(text[], text[], text[]) to %s', r.name);
  end loop;
end
$$;
