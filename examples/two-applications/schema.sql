-- A Supabase project has this already: leave it out there.
create schema auth;
create table auth.users (
  id                 uuid primary key,
  email              varchar(255),
  raw_user_meta_data jsonb,
  created_at         timestamptz,
  updated_at         timestamptz
);

-- The shop. The foreign key deletes the profile with its user.
create table public.profiles (
  id         uuid primary key references auth.users (id) on delete cascade,
  first_name text,
  last_name  text,
  role       text not null,
  orders     integer not null default 0
);

-- The marketplace. Its sales must keep their seller, so there is no foreign key to
-- auth.users: it would delete the row, or keep Supabase from deleting the user.
create schema deadstock;
create table deadstock.users (
  id         uuid primary key,
  email      text unique,
  full_name  text not null,
  role       text not null check (role in ('free', 'pro')),
  avatar_url text,
  deleted_at timestamptz
);
create table deadstock.sales (
  id     bigint generated always as identity primary key,
  seller uuid not null references deadstock.users (id)
);
