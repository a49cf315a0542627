-- For spans of users in one transaction: targets' rows are looked up by key, even where a plan
-- was made when the table was empty; and a commit that a crash loses is repeated.
select set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true),
       set_config('synchronous_commit', 'off', true)
