create or replace trigger rollcall_capture after insert or update or delete on %[1]s
for each row execute function rollcall.capture(%[2]s);
