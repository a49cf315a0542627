-- Whether the server is a standby, and whether the tables that every webhook writes are there
-- and may be written. Asking locks none of them.
select pg_is_in_recovery(),
       coalesce(has_table_privilege(to_regclass('rollcall.users'), 'insert')
            and has_table_privilege(to_regclass('rollcall.users'), 'update')
            and has_table_privilege(to_regclass('rollcall.events'), 'insert'), false)
