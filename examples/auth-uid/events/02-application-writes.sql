update public.users set name = 'Annie' where email = 'ann@example.com';
update public.settings set newsletter = true, locale = 'fr' where user_id = 1;
