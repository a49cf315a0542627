-- Announced users are looked up a few times after their announcement; look_at is the next
-- time, null before the first. Only announcements are in the index.
alter table rollcall.events add column look_at timestamptz;

create index events_announced on rollcall.events (source, (coalesce(look_at, received_at))) where outcome = 'announced';

-- What is to be forgotten, the oldest first: 0 an event whose body is gone or never was, 1 one
-- with its body, 2 one with a body that could not be read. One index for all three, because
-- every webhook pays for it.
create index events_kept on rollcall.events (
  (case when body is null then 0 when outcome <> 'undecodable' then 1 else 2 end), received_at);
