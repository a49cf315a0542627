-- What each source has sent, by day: how much verified, by which secret, and how much did not. serve adds to it
-- every five seconds; doctor and status read it.
create table rollcall.receipts (
  source   text collate "C" not null,
  endpoint text collate "C" not null,     -- webhook, database or capture
  secret   text collate "C" not null,     -- four hex digits of a hash of the secret; '' for a capture, and 'none' for what did not verify
  day      date not null,                 -- UTC
  requests bigint not null default 0,
  last_at  timestamptz,                   -- of the last request; null for none on that day
  primary key (source, endpoint, secret, day)
);
comment on table rollcall.receipts is 'How many requests of each source have verified, by day and secret.';
revoke all on rollcall.receipts from public;

-- Users with columns that keep their last known value, for doctor.
create index users_kept on rollcall.users (source, id) where kept is not null;
