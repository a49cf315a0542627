-- As before. It runs under the search path of the configuration's expressions, which has the
-- schema public, so it says whose functions it calls: one in public that takes exactly these
-- types would be preferred.
create or replace function rollcall.settle_apart(statement text, sources text[], ids text[], waits boolean, fails boolean, at_once boolean)
returns table (source text, id text, state text, message text)
language plpgsql as $$
declare
  half integer := pg_catalog.cardinality(ids) / 2;
  failed_state text;
  failed_message text;
  failed_context text;
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
      get stacked diagnostics failed_state = returned_sqlstate, failed_message = message_text, failed_context = pg_exception_context;
      if failed_context like '%at RAISE%' then -- an application's words, which may be anything
        failed_message := 'a trigger or a function of the application raised an error; the server''s log has its words';
      end if;
      if failed_state = '55P03' and not waits or failed_state = '57014' and failed_context not like '%at RAISE%' then
        raise;
      end if;
    end;
  end if;
  if half = 0 then
    return query select sources[1], ids[1], failed_state, failed_message;
    return;
  end if;
  return query select * from rollcall.settle_apart(statement, sources[:half], ids[:half], waits, false, at_once);
  get diagnostics refused = row_count;
  return query select * from rollcall.settle_apart(statement, sources[half + 1:], ids[half + 1:], waits, refused = 0, at_once);
end
$$;
