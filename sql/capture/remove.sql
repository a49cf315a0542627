drop trigger if exists rollcall_capture on %[1]s;
