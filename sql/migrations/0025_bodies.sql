-- Takes the bodies out of this transaction's events about users who were erased. The rows of the users are
-- locked, in a statement before: an erasure comes before this, or sees the events. Batches call it as soon as
-- rollcall.erased has a row. It is a function because PostgreSQL opens rollcall.events and its indexes for an
-- update even if that finds nothing, which takes 15 µs.
--
-- PUBLIC keeps the right to call it: PostgreSQL asks for that before the condition, so a role without it could
-- record nothing. It runs with the rights of its caller.
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
