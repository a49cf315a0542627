update public.accounts set plan = 'pro' where source = 'clerk';
update public.staff set on_duty = true;
