-- The two tables of applications that all candidates write, and for the rival with the same
-- guarantees its own events and roll, column for column as Rollcall's.
create schema deadstock;
create schema rival;

create table public.profiles (
  id         text primary key,
  email      text,
  first_name text,
  last_name  text,
  role       text not null,
  created_at timestamptz not null default now()
);

create table deadstock.users (
  id         text primary key,
  email      text,
  full_name  text not null,
  role       text not null,
  avatar_url text,
  created_at timestamptz not null default now()
);

create table rival.events (like rollcall.events including all);
create table rival.users (like rollcall.users including all);
