-- Drops the trigger of an older version as the owner of its function, who need not own the table:
-- the function takes it along. The function itself is made again.
set local search_path = pg_catalog;
do $$
declare
  body constant text := pg_get_functiondef('rollcall.capture()'::regprocedure);
begin
  if (select count(*) from pg_trigger where tgfoid = 'rollcall.capture()'::regprocedure) > 1 then
    raise exception using errcode = '42501', message = 'other tables have triggers of this function';
  end if;
  drop function rollcall.capture() cascade;
  execute body;
  revoke all on function rollcall.capture() from public;
end
$$;
