-- Notes a rule of a replica ($1): the name of the notification ($2), the transitions ($3) and the sources ($4, null or
-- none for all). One that is configured for the first time begins with begin.sql, once the triggers are there.
insert into rollcall.rules as r (replica, name, transitions, sources, since)
select $1, $2, $3::text[], nullif($4::text[], '{}'::text[]),
  coalesce((select since from rollcall.notifiers where name = $2), 'infinity')
on conflict (replica, name) do update set transitions = excluded.transitions, sources = excluded.sources
