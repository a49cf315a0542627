-- Records the events and brings the roll up to date, in one statement.
-- $1-$7 the events, in the order of (source, id), each id once
-- $8-$32 what they and the findings without an event say about users; $33 the row of the
--   outbox it comes from, $34 the moment of which a finding speaks, $35 the columns, separated
--   by commas, that keep what the roll has, all mostly null
-- $36 the rows of the outbox that all of this was made of, $37 the set of targets
-- An event that was seen before (on conflict do nothing waits for the one in flight,
-- an anti-join would not) takes no part; of several about one user a delete comes
-- before a version, a version before the order of arrival. A delete is final; of several
-- the one with the lowest version counts, so that their order doesn't. The sort for
-- distinct on makes sure that every event is inserted before the first user is locked,
-- and that users are locked in key order.
-- What comes from the outbox takes part if its row is still there, so that two who read
-- the outbox apply it once. A finding knows nothing of what came after its moment: an equal
-- version, or an absence, counts only if the roll's state is known from an earlier one. It
-- is told from an event by that moment, which lies before this transaction.
-- Returns (source, id, null) for each event that is new and (null, null, n) for each
-- user written, n counting from 1.
with event as (
  insert into rollcall.events (source, id, type, user_id, outcome, received_at, body)
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[])
  on conflict do nothing
  returning source, id
), captured as (
  delete from rollcall.outbox where id = any($36::bigint[]) returning id
), said as (
  select * from unnest(
    $8::text[], $9::text[], $10::text[], $11::bigint[], $12::text[],
    $13::text[], $14::boolean[], $15::timestamptz[], $16::text[], $17::boolean[], $18::timestamptz[],
    $19::text[], $20::text[], $21::text[], $22::text[], $23::text[],
    $24::text[], $25::text[], $26::boolean[], $27::boolean[], $28::timestamptz[],
    $29::timestamptz[], $30::timestamptz[], $31::timestamptz[], $32::timestamptz[],
    $33::bigint[], $34::timestamptz[], $35::text[]
  ) with ordinality as s (
    event_id, source, id, version, external_id,
    email, email_verified, email_confirmed_at, phone, phone_verified, phone_confirmed_at,
    username, first_name, last_name, full_name, avatar_url,
    raw_user_meta_data, raw_app_meta_data, is_anonymous, banned, banned_until,
    created_at, updated_at, last_sign_in_at, deleted_at, captured, seen_at, kept, n)
), newest as (
  select distinct on (s.source collate "C", s.id collate "C") s.*
  from said s
  left join event e on e.source = s.source and e.id = s.event_id
  left join captured c on c.id = s.captured
  where (s.event_id is null or e.id is not null) and (s.captured is null or c.id is not null)
  order by s.source collate "C", s.id collate "C", (s.deleted_at is not null and s.seen_at is null) desc,
           case when s.deleted_at is not null and s.seen_at is null then -s.version else s.version end desc,
           s.seen_at desc nulls first, s.n desc
), roll as (
  insert into rollcall.users as u (
    source, id, version, changed_at, config, external_id,
    email, email_verified, email_confirmed_at, phone, phone_verified, phone_confirmed_at,
    username, first_name, last_name, full_name, avatar_url,
    raw_user_meta_data, raw_app_meta_data, is_anonymous, banned, banned_until,
    created_at, updated_at, last_sign_in_at, deleted_at, kept)
  select
    source, id, version, coalesce(seen_at, pg_catalog.clock_timestamp()), $37::integer, external_id,
    email, email_verified, email_confirmed_at, phone, phone_verified, phone_confirmed_at,
    username, first_name, last_name, full_name, avatar_url,
    raw_user_meta_data::jsonb, raw_app_meta_data::jsonb, is_anonymous, banned, banned_until,
    created_at, updated_at, last_sign_in_at, deleted_at, string_to_array(kept, ',')
  from newest
  order by source collate "C", id collate "C"
  on conflict (source, id) do update set
    version = excluded.version,
    changed_at = excluded.changed_at,
    config = excluded.config,
    external_id = excluded.external_id,
    email = excluded.email,
    email_verified = excluded.email_verified,
    email_confirmed_at = excluded.email_confirmed_at,
    phone = excluded.phone,
    phone_verified = excluded.phone_verified,
    phone_confirmed_at = excluded.phone_confirmed_at,
    username = case when 'username' = any(excluded.kept) then u.username else excluded.username end,
    first_name = case when 'first_name' = any(excluded.kept) then u.first_name else excluded.first_name end,
    last_name = case when 'last_name' = any(excluded.kept) then u.last_name else excluded.last_name end,
    full_name = case when 'full_name' = any(excluded.kept) then u.full_name else excluded.full_name end,
    avatar_url = case when 'avatar_url' = any(excluded.kept) then u.avatar_url else excluded.avatar_url end,
    raw_user_meta_data = case when 'raw_user_meta_data' = any(excluded.kept)
      then u.raw_user_meta_data else excluded.raw_user_meta_data end,
    raw_app_meta_data = case when 'raw_app_meta_data' = any(excluded.kept)
      then u.raw_app_meta_data else excluded.raw_app_meta_data end,
    is_anonymous = excluded.is_anonymous,
    banned = case when 'banned' = any(excluded.kept) then u.banned else excluded.banned end,
    banned_until = case when 'banned_until' = any(excluded.kept)
      then u.banned_until else excluded.banned_until end,
    created_at = case when 'created_at' = any(excluded.kept) then u.created_at else excluded.created_at end,
    updated_at = case when 'updated_at' = any(excluded.kept) then u.updated_at else excluded.updated_at end,
    last_sign_in_at = case when 'last_sign_in_at' = any(excluded.kept)
      then u.last_sign_in_at else excluded.last_sign_in_at end,
    deleted_at = excluded.deleted_at,
    kept = excluded.kept
  where case
    when u.deleted_at is null and excluded.changed_at < pg_catalog.now() then
      u.version < excluded.version and excluded.deleted_at is null
      or u.version <= excluded.version and u.changed_at < excluded.changed_at
    when u.deleted_at is null then excluded.deleted_at is not null or u.version <= excluded.version
    else excluded.changed_at >= pg_catalog.now() and excluded.deleted_at is not null and excluded.version < u.version
  end
  returning u.source, u.id
)
select e.source, e.id, null::bigint from event e
union all
select null, null, w.n from newest w join roll r on r.source = w.source and r.id = w.id
