grant usage on schema rollcall to %[1]s;
grant execute on function rollcall.capture() to %[1]s;
