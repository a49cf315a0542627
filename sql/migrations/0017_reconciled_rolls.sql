-- What a reconciliation did about the rolls of organisations and memberships: by the roll's name, the counters
-- that the columns hold about users, and the position. Null while only users have been compared.
alter table rollcall.reconciliations add column others jsonb;

comment on table rollcall.listed is 'What a reconciliation under way has found in the list of a provider, of one roll at a time.';
