update public.profiles set first_name = 'Annie', orders = 3;
update deadstock.users set role = 'pro', full_name = 'A. Example';
insert into deadstock.sales (seller) values ('5c1f0b0e-6a7d-4f7e-9b35-0d5a4f8c2e11');
