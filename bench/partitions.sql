-- The roll and the events as 16 hash partitions each, by their keys. Only for an
-- empty schema: no row is moved (docs/scaling.md).
do $$
declare
  name text;
  live_users text := pg_catalog.pg_get_viewdef(pg_catalog.to_regclass('rollcall_api.live_users')); -- null: left out
begin
  drop view if exists rollcall_api.live_users; -- it depends on the table; grant it again afterwards
  foreach name in array array['users', 'events'] loop
    execute format('alter table rollcall.%I rename to %I', name, name || '_whole');
    execute format('create table rollcall.%I (like rollcall.%I including all) partition by hash (source, id)', name, name || '_whole');
    for n in 0..15 loop
      execute format('create table rollcall.%I partition of rollcall.%I for values with (modulus 16, remainder %s) with (fillfactor = %s)',
        name || '_' || n, name, n, case name when 'users' then 85 else 100 end);
    end loop;
    execute format('drop table rollcall.%I', name || '_whole');
  end loop;
  if live_users is not null then
    execute 'create view rollcall_api.live_users as ' || live_users;
  end if;
end
$$;
