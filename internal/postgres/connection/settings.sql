-- The transaction's own settings, so that no role's or database's default counts.
-- $1 lock_timeout, $2 statement_timeout, both like '800ms'
select pg_catalog.set_config('lock_timeout', $1, true),
       pg_catalog.set_config('statement_timeout', $2, true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '5s', true),
       pg_catalog.set_config('synchronous_commit', 'on', true),
       pg_catalog.set_config('search_path', 'pg_catalog, public', true), -- once more: a trigger may have changed them
       pg_catalog.set_config('TimeZone', 'UTC', true),
       -- Planning a target's statement anew takes as long as running it for a few users.
       pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)
