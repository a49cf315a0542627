insert into auth.users (id, email, raw_user_meta_data)
values ('5c1f0b0e-6a7d-4f7e-9b35-0d5a4f8c2e11', 'ann@example.com',
        '{"first_name": "Ann", "last_name": "Example", "full_name": "Ann Example"}');
