-- As %[1]s, who owns the schema rollcall; postgres stands for the role of the next part:
grant usage on schema rollcall to postgres;
grant execute on function rollcall.capture() to postgres;

-- As a role that may put a trigger on %[2]s (on Supabase postgres, in the SQL editor):
%[3]s
