-- More of what providers say about a user. Those who were noted before have the values that mean
-- nothing is known; the next reconciliation of their source brings the others.
alter table rollcall.users
  add column email_addresses jsonb,
  add column external_accounts jsonb,
  add column is_sso_user boolean default false,
  add column locked boolean default false,
  add column invited_at timestamptz;
alter table rollcall.users alter column is_sso_user drop default, alter column locked drop default;
