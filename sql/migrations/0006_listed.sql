-- Users that a provider's list has shown to a reconciliation that is under way. Who is not among
-- them when the list ends may be gone. It is as lasting as the position of the run, which says
-- that those before it need not be listed again.
create table rollcall.listed (
  source text collate "C" not null,
  id     text collate "C" not null,
  primary key (source, id)
);

comment on table rollcall.listed is 'Users that a reconciliation under way has found in the list of a provider.';
