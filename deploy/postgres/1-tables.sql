-- The tables of the sample applications. They belong to the applications: Rollcall writes
-- the columns that deploy/rollcall.yaml names, and never the others.

create table public.profiles (
  id         uuid primary key,
  first_name text,
  last_name  text,
  role       text not null,
  orders     integer not null default 0,
  created_at timestamptz not null default now()
);

create schema deadstock;

create table deadstock.users (
  id         uuid primary key,
  email      text,
  full_name  text not null,
  role       text not null,
  avatar_url text,
  credits    integer not null default 10,
  deleted_at timestamptz
);

create table public."Member" (
  id          text primary key,
  "clerkId"   text not null unique,
  email       text not null unique,
  name        text,
  "createdAt" timestamp(3) not null default now(),
  "updatedAt" timestamp(3) not null
);
