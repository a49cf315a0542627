-- Counts the users where a reconciliation found only the moment of a change or of a sign-in to differ.
alter table rollcall.reconciliations add column touched bigint not null default 0;

-- As before, and also says in which function of the application a statement failed (place), and
-- against which constraint (against).
drop function rollcall.settle_apart(text, text[], text[], boolean, boolean, boolean);

create function rollcall.settle_apart(
  statement text, sources text[], ids text[], waits boolean, fails boolean, at_once boolean)
returns table (source text, id text, state text, message text, place text, against text)
language plpgsql as $$
declare
  half integer := pg_catalog.cardinality(ids) / 2;
  failed_state text;
  failed_message text;
  failed_context text;
  failed_constraint text;
  refused bigint;
begin
  if half = 0 or not fails then
    begin
      execute pg_catalog.format('execute %I(%L, %L, true)', statement, sources, ids);
      if at_once then
        set constraints all immediate;
      end if;
      return;
    exception when assert_failure or query_canceled or others then
      get stacked diagnostics failed_state = returned_sqlstate, failed_message = message_text,
        failed_context = pg_exception_context, failed_constraint = constraint_name;
      if failed_context like '%at RAISE%' then -- an application's words, which may be anything
        failed_message := 'a trigger or a function of the application raised an error; the server''s log has its words';
      end if;
      if failed_state = '55P03' and not waits or failed_state = '57014' and failed_context not like '%at RAISE%' then
        raise;
      end if;
    end;
  end if;
  if half = 0 then
    return query select sources[1], ids[1], failed_state, failed_message,
      pg_catalog.substring(failed_context, '(?n)^PL/pgSQL function (.*\)) line \d+ at '), failed_constraint;
    return;
  end if;
  return query select * from rollcall.settle_apart(statement, sources[:half], ids[:half], waits, false, at_once);
  get diagnostics refused = row_count;
  return query select * from rollcall.settle_apart(
    statement, sources[half + 1:], ids[half + 1:], waits, refused = 0, at_once);
end
$$;
