-- Whether the server is a standby, and whether the tables that every webhook writes are there
-- and may be written. Asking locks none of them.
select pg_catalog.pg_is_in_recovery(),
       coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass('rollcall.users'), 'insert')
            and pg_catalog.has_table_privilege(pg_catalog.to_regclass('rollcall.users'), 'update')
            and pg_catalog.has_table_privilege(pg_catalog.to_regclass('rollcall.events'), 'insert'), false)
