-- The transaction's own settings, so that no role's or database's default counts.
-- $1 lock_timeout, $2 statement_timeout, both like '800ms'
select set_config('lock_timeout', $1, true),
       set_config('statement_timeout', $2, true),
       set_config('idle_in_transaction_session_timeout', '5s', true),
       set_config('synchronous_commit', 'on', true),
       set_config('search_path', 'pg_catalog, public', true), -- once more: a trigger may have changed them
       set_config('TimeZone', 'UTC', true),
       -- Planning a target's statement anew takes as long as running it for a few users.
       set_config('plan_cache_mode', 'force_generic_plan', true)
