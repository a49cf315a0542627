-- The application numbers its users itself; auth_uid is the id at the provider.
create table public.users (
  id       bigint generated always as identity primary key,
  auth_uid uuid not null unique,
  email    text,
  name     text not null
);

create table public.settings (
  auth_uid   uuid primary key references public.users (auth_uid),
  user_id    bigint not null references public.users (id),
  locale     text not null,
  newsletter boolean not null default false
);
