-- The tables of an application that signs its users in with Auth.js, and has some.
create table public.users (
  id              text primary key default gen_random_uuid()::text,
  name            text,
  email           text unique,
  "emailVerified" timestamptz,
  image           text
);
create table public.accounts ( -- who came by OAuth
  "userId" text not null references public.users,
  provider text not null,
  primary key ("userId", provider)
);
create table public.orders (
  id      bigint generated always as identity primary key,
  user_id text not null references public.users,
  item    text not null
);
insert into public.users (id, name, email, "emailVerified") values
  ('1', 'Ada', 'Ada@example.com', '2025-03-01 09:00Z'),
  ('2', 'Bob', 'bob@example.com', '2025-03-02 09:00Z'),
  ('3', 'Cec', 'cec@example.com', null),
  ('4', 'Dan', 'dan@example.com', '2025-03-04 09:00Z');
insert into public.users (id, name, email) values ('5', 'Gus', 'gus@example.com'); -- by Google: no mail was sent
insert into public.accounts values ('5', 'google');
insert into public.orders (user_id, item) values ('1', 'lamp'), ('2', 'chair');

-- The move to Clerk: a column for Clerk's id, which no row has yet, and an index to find rows by their address.
alter table public.users add column clerk_id text unique;
create index on public.users (lower(email));
-- An address that was verified neither by a mail nor by Google may be another person's: such a row is not to be taken
-- over.
update public.users u set email = null where u."emailVerified" is null
  and not exists (select from public.accounts a where a."userId" = u.id and a.provider in ('google'));
