create constraint trigger rollcall_capture after insert or update or delete on %[1]s
deferrable initially deferred for each row execute function rollcall.capture(%[2]s);
