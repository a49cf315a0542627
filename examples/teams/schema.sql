-- A shop that its customers use in teams. The rows of a team are locked in the application by its members' roles.
create table users (
  id    text primary key,
  email text unique
);

create table teams (
  id          text primary key,
  name        text not null,
  plan        text not null default 'free',
  archived_at timestamptz
);

create table team_members (
  team_id  text references teams on delete cascade,
  user_id  text references users on delete cascade,
  role     text not null,
  settings jsonb not null default '{}',
  primary key (team_id, user_id)
);
