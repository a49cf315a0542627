-- All users of both providers. An id is unique within its source only.
create table public.accounts (
  source     text not null,
  id         text not null,
  email      text,
  name       text,
  plan       text not null default 'free',
  deleted_at timestamptz,
  primary key (source, id)
);
create index on public.accounts (email); -- not unique: one person may be with both providers

-- Users of one provider only.
create table public.staff (
  clerk_id text primary key,
  email    text,
  on_duty  boolean not null default false
);
