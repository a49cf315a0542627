-- What the demo finds: the auth provider's own table, and the tables of three applications,
-- with columns that only the applications know.

create schema auth;
create table auth.users (id uuid primary key, email text, raw_user_meta_data jsonb);

-- a shop
create table public.profiles (
  id uuid primary key references auth.users on delete cascade,
  first_name text,
  last_name text,
  role text not null default 'customer', -- the shop's own
  orders integer not null default 0      -- the shop's own
);

-- a second application in the same database, with a schema of its own
create schema deadstock;
create table deadstock.users (
  id uuid primary key,
  email text,
  full_name text not null,
  role text not null,
  deleted_at timestamptz
);

-- a third, made by Prisma, with teams
create type public."Role" as enum ('MEMBER', 'ADMIN');
create table public."Member" (
  id text primary key,
  "clerkId" text unique,
  email text not null unique,
  name text,
  role "Role" not null,
  "updatedAt" timestamp(3) not null
);
create index on public."Member" (lower(email));
create table public."Team" (id text primary key, name text not null);
create table public."TeamMember" (
  "teamId" text references public."Team" on delete cascade,
  "userId" text references public."Member" ("clerkId") on delete cascade,
  role text not null,
  seats integer not null default 1, -- the application's own
  primary key ("teamId", "userId")
);
