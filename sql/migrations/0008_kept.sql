-- The columns of a user that keep their last known value, because what the provider last said
-- of them can't be used: a client writes some of it, and must not keep the rest from arriving.
-- The next state that can be used empties it.
alter table rollcall.users add column kept text[];

comment on column rollcall.users.kept is
  'columns that keep their last known value, because the provider''s can''t be used; null: none';
