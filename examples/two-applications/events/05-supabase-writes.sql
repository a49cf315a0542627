insert into auth.users (id, email) values ('b7e0c6a4-2f19-4d3a-8c41-7a9e5d3b6f22', 'bob@example.com');
