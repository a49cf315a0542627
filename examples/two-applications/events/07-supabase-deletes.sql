delete from auth.users where id = '5c1f0b0e-6a7d-4f7e-9b35-0d5a4f8c2e11';
