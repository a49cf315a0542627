package roll

import (
	"fmt"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/target"
)

// The statements of a look at a table of users, in the order in which a transaction runs them.

// noteEvents records the events of a source ($1) that are signals about users: $2 ids in key
// order, $3 types, $4 user ids, $5 outcomes, $6 moments of receipt, $7 bodies. It returns the ids
// that are new.
const noteEvents = `insert into rollcall.events (source, id, type, user_id, outcome, received_at, body)
select $1, e.* from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[]) e
on conflict do nothing
returning id`

// lockUsers locks the roll rows of users ($1 the source, $2 ids) in key order. A user that the
// roll does not know gets an empty placeholder, which has no version and looks like a tombstone.
// The next statement sees every commit that was made before the locks were had.
const lockUsers = `insert into rollcall.users as u (source, id, version, deleted_at)
select $1, id, null, pg_catalog.now() from pg_catalog.unnest($2::text[]) id order by id collate "C"
on conflict (source, id) do update set version = u.version where false`

// readUsers brings the roll up to date with the state of users (%[1]s, directory.StateOfRows; $1 the source, $2 ids,
// locked; $3 of each whether a signal says that they were deleted), whatever the versions say. It deletes the rows of the outboxes ($4; %[7]s is
// about that of ids) about the users it has read, and takes back this transaction's events ($5 ids, $6 user ids) about those it
// has not; $7 bounds the bytes. $8 is the set of targets, $9 limits.metadata. An absence that no
// signal explains ends no living user.
//
// The roll's rows of users who do not live in the table, or were not read (others), are found one by
// one, and placeholders among them are deleted by their place: a plan for many, made while the roll
// was small, reads all of it.
//
// It returns for each user that was read: id, whether they live, whether the roll was written,
// whether their absence is in doubt, whether neither the table nor the roll has them, and the
// columns that keep their value.
const readUsers = `with %[1]s, unread as (
  delete from rollcall.events
  where source = $1 and xmin = pg_catalog.pg_current_xact_id()::xid
    and id = any (array(select e.id from unnest($5::text[], $6::text[]) e (id, user_id) where not exists (select from have h where h.id = e.user_id)))
), noted as (
  delete from rollcall.outbox o where o.id = any($4::bigint[]) and (o.user_id in (select h.id from have h)) is true
)%[7]s, others as materialized (
  select i.id, u.*
  from pg_catalog.unnest($2::text[]) i (id)
  cross join lateral (
    select ctid as place, version is not null as known, version is not null and deleted_at is null as living
    from rollcall.users where source = $1 and id = i.id limit 1
  ) u
  where (i.id in (select id from state where living)) is not true
), dropped as (
  delete from rollcall.users where ctid = any (array(select place from others where not known))
), roll as (
  insert into rollcall.users as u (source, id, version, changed_at, config, %[2]s, deleted_at, kept)
  select $1, id, version, pg_catalog.clock_timestamp(), $8::integer, %[3]s, deleted_at, pg_catalog.string_to_array(kept, ' ')
  from state
  where living or (there or deleted) and id in (select id from others where living)
  order by id collate "C"
  on conflict (source, id) do update set
    version = coalesce(excluded.version, u.version), -- of an absent user the last one
    changed_at = excluded.changed_at,
    config = excluded.config,
    %[4]s,
    deleted_at = excluded.deleted_at,
    kept = excluded.kept
  where excluded.deleted_at is not null or (u.version, %[5]s, u.deleted_at, pg_catalog.array_to_string(u.kept, ' '))
    is distinct from (excluded.version, %[6]s, null, pg_catalog.array_to_string(excluded.kept, ' '))
  returning u.id
)
select s.id, s.living, r.id is not null, not s.there and not s.deleted and o.living is true, o.known is false, coalesce(s.kept, '')
from state s
left join roll r on r.id = s.id
left join others o on o.id = s.id`

// notedIDs is noted of the outbox of ids. "is true" has PostgreSQL look each row up in a hash: a join
// that is planned for one row takes 16 million comparisons for a page.
const notedIDs = `, noted_ids as (
  delete from rollcall_provider.outbox o where o.id = any($4::bigint[]) and (o.user_id in (select h.id from have h)) is true
)`

// readUsersFrom is readUsers for rows of a provider's users; noted is notedIDs or nothing.
func readUsersFrom(rows, noted string) string {
	var names, values, set, ours, theirs []string
	for i := range event.Users.Fields {
		f := &event.Users.Fields[i]
		next := newValue(f)
		names, values = append(names, f.Name), append(values, "case when living then "+f.Name+" end")
		set = append(set, f.Name+" = "+next)
		ours, theirs = append(ours, "u."+f.Name), append(theirs, next)
	}
	return fmt.Sprintf(readUsers, directory.StateOfRows(rows, "$7::bigint", "$9::integer"), strings.Join(names, ", "), strings.Join(values, ", "),
		strings.Join(set, ",\n    "), strings.Join(ours, ", "), strings.Join(theirs, ", "), noted)
}

// newValue is what a field of the roll becomes, unless it keeps its value.
func newValue(f *event.Field) string {
	if !f.Keeps {
		return "excluded." + f.Name
	}
	return fmt.Sprintf("case when %[2]s = any(excluded.kept) and u.deleted_at is null then u.%[1]s else excluded.%[1]s end", f.Name, target.Literal(f.Name))
}
