package roll

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/target"
)

// These statements are in files, which describe their parameters.
var (
	//go:embed bodies_of_erased.sql
	bodiesOfErasedSQL string
	//go:embed bans_over.sql
	bansOverSQL string
	//go:embed end_bans.sql
	endBansSQL string
	//go:embed drop_placeholders.sql
	dropPlaceholdersSQL string
	//go:embed end_memberships.sql
	endMembershipsSQL string // a format of the column of the parent, of how many, of the roll's name and of what is emptied
	//go:embed lock_rows.sql
	lockRowsSQL string
	//go:embed mark_parked.sql
	markParkedSQL string
	//go:embed mark_stale.sql
	markStaleSQL string
	//go:embed parked_members.sql
	parkedMembersSQL string // a format of the column of the parent
	//go:embed member.sql
	memberSQL string // a format of the columns, and of what names the row
)

// kind is a kind of roll with the statements that follow from its fields.
type kind struct {
	*event.Roll
	write         string
	writeCaptured string // the same for captured changes; only users have those
}

// The kinds of rolls.
var (
	users         = &kind{&event.Users, writeStatement(&event.Users, rollStatement, firstSaid), writeCaptured(&event.Users)}
	organizations = &kind{Roll: &event.Organizations, write: writeStatement(&event.Organizations, rollStatement, firstSaid)}
	memberships   = &kind{Roll: &event.Memberships, write: writeStatement(&event.Memberships, membershipStatement, 3)}
)

// firstSaid is the number of the first parameter of rollStatement that says something about rows.
const firstSaid = 9

// rollStatement records events and brings a roll (%[1]s) up to date, in one statement.
// $1-$8 are the events, in the order of (source, id), each id once.
// $9 and the following are what they, and the observations without an event, say about rows (said, %[2]s, with the
// columns %[3]s): each with the moment of which an observation speaks, the columns, separated by commas, that keep what
// the roll has, both mostly null, and its position. %[4]s is the set of targets.
//
// Captured changes are said by rows of the outbox (capturedSaid), which is a statement of its own: the delete takes
// PostgreSQL 10 µs even if there is nothing to delete.
//
// The arrays are unnested in lists of columns: in from, PostgreSQL stores what each of them holds and reads it again,
// which takes 7 % of the statement's time for 28 users, and 18 % for one. In a list of columns unnest is an ordinary
// function, so it is named with its schema: one of text[] in public would match better than PostgreSQL's own.
//
// An event that was seen before (on conflict do nothing waits for the one in flight, an anti-join
// would not) takes no part; of several about one row a delete comes before a version, a version
// before the order of arrival. A delete is final; of several the one with the lowest version
// counts, so that their order doesn't. The sort for distinct on makes sure that every event is
// inserted before the first row is locked, and that rows are locked in key order.
//
// What comes from the outbox takes part if its row is still there, so that two who read the outbox
// apply it once. An observation knows nothing of what came after its moment: an equal version, or an
// absence, counts only if the roll's state is known from an earlier one. It is told from an event
// by that moment, which lies before this transaction.
//
// A user who was erased takes nothing on (%[7]s, a case of its own).
//
// It returns (source, id, null) for each event that is new and (null, null, n) for each row written.
const rollStatement = `with event as (
  insert into rollcall.events (source, id, type, user_id, outcome, received_at, body, reason)
  select pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]),
    pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::timestamptz[]), pg_catalog.unnest($7::bytea[]), pg_catalog.unnest($8::text[])
  on conflict do nothing
  returning source, id
), %[2]s, newest as (
  select distinct on (s.source collate "C", s.id collate "C") s.*
  from said s
  left join event e on e.source = s.source and e.id = s.event_id
  where s.event_id is null or e.id is not null
  order by s.source collate "C", s.id collate "C", (s.deleted_at is not null and s.seen_at is null) desc,
           case when s.deleted_at is not null and s.seen_at is null then -s.version else s.version end desc,
           s.seen_at desc nulls first, s.n desc
), roll as (
  insert into %[1]s as u (source, id, version, changed_at, config, %[3]s, deleted_at, kept)
  select source, id, version, coalesce(seen_at, pg_catalog.clock_timestamp()), %[4]s::integer, %[5]s, deleted_at, string_to_array(kept, ',')
  from newest
  order by source collate "C", id collate "C"
  on conflict (source, id) do update set
    version = excluded.version,
    changed_at = excluded.changed_at,
    config = excluded.config,
    %[6]s,
    deleted_at = excluded.deleted_at,
    kept = excluded.kept
  where case%[7]s
    when u.version is null then true -- a placeholder
    when u.deleted_at is null and excluded.changed_at < pg_catalog.now() then
      u.version < excluded.version and excluded.deleted_at is null
      or u.version <= excluded.version and u.changed_at < excluded.changed_at
    when u.deleted_at is null then excluded.deleted_at is not null or u.version <= excluded.version
    else excluded.changed_at >= pg_catalog.now() and excluded.deleted_at is not null and excluded.version < u.version
  end
  returning u.source, u.id
)
select e.source, e.id, null::bigint as n from event e
union all
select null as source, null as id, w.n from newest w join roll r on r.source = w.source and r.id = w.id`

// membershipStatement is rollStatement for memberships of users and organisations whose rows the transaction
// has locked, in statements before. $1 and $2 are the sources and ids of the events, which it has recorded.
//
// A membership has lives, which its created_at tells apart: a later one replaces all that is known of an
// earlier one. In one life a delete comes before any version, and is final. Below a user or an organisation
// that is deleted it is written as a tombstone, and empty.
const membershipStatement = `with event as (
  select e.source, e.id
  from unnest($1::text[], $2::text[]) as b (source, id)
  cross join lateral (
    select e.source, e.id from rollcall.events e
    where e.source = b.source and e.id = b.id and e.xmin = pg_catalog.pg_current_xact_id()::xid
    offset 0
  ) e
), %[2]s, newest as (
  select distinct on (s.source collate "C", s.id collate "C") s.*,
    exists (select from rollcall.organizations o
            where o.source = s.source and o.id = s.organization_id and o.deleted_at is not null and o.version is not null)
    or exists (select from rollcall.users u
               where u.source = s.source and u.id = s.user_id and u.deleted_at is not null and u.version is not null) as ended
  from said s
  left join event e on e.source = s.source and e.id = s.event_id
  where s.event_id is null or e.id is not null
  order by s.source collate "C", s.id collate "C", s.created_at desc nulls last,
           (s.deleted_at is not null and s.seen_at is null) desc, s.version desc, s.seen_at desc nulls first, s.n desc
), roll as (
  insert into %[1]s as u (source, id, version, changed_at, config, %[3]s, deleted_at, kept)
  select source, id, version, coalesce(seen_at, pg_catalog.clock_timestamp()), %[4]s::integer, %[5]s,
    coalesce(deleted_at, case when ended then pg_catalog.now() end), case when not ended then string_to_array(kept, ',') end
  from newest
  order by source collate "C", id collate "C"
  on conflict (source, id) do update set
    version = excluded.version,
    changed_at = excluded.changed_at,
    config = excluded.config,
    %[6]s,
    deleted_at = excluded.deleted_at,
    kept = excluded.kept
  where case
    when excluded.created_at is distinct from u.created_at then
      coalesce(excluded.created_at, '-infinity') > coalesce(u.created_at, '-infinity')
    when u.deleted_at is not null then false
    when excluded.changed_at < pg_catalog.now() then
      u.version < excluded.version and excluded.deleted_at is null
      or u.version <= excluded.version and u.changed_at < excluded.changed_at
    else excluded.deleted_at is not null or u.version <= excluded.version
  end
  returning u.source, u.id
)
select null::text as source, null::text as id, w.n from newest w join roll r on r.source = w.source and r.id = w.id`

// eventSaid and capturedSaid are the part of a statement that lists what is said (%[1]s). What a row of the outbox says
// (captured, null for none) counts if the statement has deleted it; $%[2]d are all rows of the outbox to delete.
const (
	eventSaid = `said as (
  select %[1]s
)`
	capturedSaid = `captured as (
  delete from rollcall.outbox where id = any($%[2]d::bigint[]) returning id
), said as (
  select * from (select %[1]s) s where s.captured is null or s.captured in (select id from captured)
)`
)

// writeStatement makes the statement that writes a roll. What is said begins at a parameter; the order of parameters
// is that of batch.work and team.writeMembers.
func writeStatement(r *event.Roll, statement string, first int) string {
	said := saidOf(r, first)
	return complete(r, statement, fmt.Sprintf(eventSaid, said.columns()), said.next())
}

// writeCaptured is rollStatement for captured changes.
func writeCaptured(r *event.Roll) string {
	said := saidOf(r, firstSaid)
	said.add("captured", "bigint")
	outbox := said.next()
	return complete(r, rollStatement, fmt.Sprintf(capturedSaid, said.columns(), outbox), outbox+1)
}

// saidOf are the columns of what is said about the rows of a roll.
func saidOf(r *event.Roll, first int) *arrays {
	said := &arrays{first: first}
	said.add("event_id", "text")
	said.add("source", "text")
	said.add("id", "text")
	said.add("version", "bigint")
	for i := range r.Fields {
		f := &r.Fields[i]
		typed := string(f.Type)
		if f.Type == event.JSON { // as a text, so that no driver decodes it
			typed = "text"
		}
		said.add(f.Name, typed)
	}
	said.add("deleted_at", "timestamptz")
	said.add("seen_at", "timestamptz")
	said.add("kept", "text")
	said.add("n", "bigint")
	return said
}

// complete fills in a statement; config is the number of the parameter that is the set of targets.
func complete(r *event.Roll, statement, said string, config int) string {
	var columns, values, set []string
	for i := range r.Fields {
		f := &r.Fields[i]
		value, next := f.Name, "excluded."+f.Name
		if f.Type == event.JSON {
			value = f.Name + "::jsonb"
		}
		if f.Keeps {
			next = fmt.Sprintf("case when %s = any(excluded.kept) then u.%s else %s end", target.Literal(f.Name), f.Name, next)
		}
		if r == &event.Memberships && !slices.Contains(namesOfMembership, f.Name) {
			value = "case when not ended then " + value + " end"
		}
		columns, values, set = append(columns, f.Name), append(values, value), append(set, f.Name+" = "+next)
	}
	return fmt.Sprintf(statement, r.Table, said, strings.Join(columns, ", "), "$"+strconv.Itoa(config),
		strings.Join(values, ", "), strings.Join(set, ",\n    "), erased(r))
}

// arrays makes a list of columns of parameters that are arrays; first is the number of the first of them.
type arrays struct {
	first int
	list  []string
}

func (a *arrays) add(name, typed string) {
	a.list = append(a.list, fmt.Sprintf("pg_catalog.unnest($%d::%s[]) as %s", a.next(), typed, name))
}

func (a *arrays) columns() string { return strings.Join(a.list, ", ") }

// next is the number of the parameter after the last of them.
func (a *arrays) next() int { return a.first + len(a.list) }

// erased is the case of rollStatement about a row whose personal data was erased: only users have that.
func erased(r *event.Roll) string {
	if r != &event.Users {
		return ""
	}
	return "\n    when u.erased_at is not null then false"
}

// Emptied sets what a tombstone does not have, as an update of a roll's table does: all fields, but those that a
// membership's names it by.
func Emptied(r *event.Roll) string {
	var set []string
	for i := range r.Fields {
		if r != &event.Memberships || !slices.Contains(namesOfMembership, r.Fields[i].Name) {
			set = append(set, r.Fields[i].Name+" = null")
		}
	}
	return strings.Join(append(set, "kept = null"), ", ")
}

// namesOfMembership are the fields that a membership's tombstone keeps.
var namesOfMembership = []string{"organization_id", "user_id", "created_at"}

// The statements of a look at a table of users, in the order in which a transaction runs them.

// noteEvents records the events of a source ($1) that are signals about users: $2 ids in key
// order, $3 types, $4 user ids, $5 outcomes, $6 moments of receipt, $7 bodies. It returns the ids
// that are new.
const noteEvents = `insert into rollcall.events (source, id, type, user_id, outcome, received_at, body)
select $1, e.* from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[]) e
on conflict do nothing
returning id`

// readUsers brings the roll up to date with the state of users (%[1]s, directory.StateOfRows; $1 the source, $2 ids,
// locked; $3 of each whether a signal says that they were deleted), whatever the versions say. It deletes the rows of the outboxes ($4; %[7]s is
// about that of ids) about the users it has read, and takes back this transaction's events ($5 ids, $6 user ids) about those it
// has not; $7 bounds the bytes. $8 is the set of targets, $9 limits.metadata. An absence that no
// signal explains ends no living user.
//
// The roll's rows of users who do not live in the table, or were not read (others), are found one by
// one, and placeholders among them are deleted by ctid, a place in one partition: a plan for many, made while the roll
// was small, reads all of it.
//
// Of a user who was erased nothing is taken on, whatever the table says: they count as one who does not live.
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
    select tableoid as part, ctid as place, version is not null as known, version is not null and deleted_at is null as living, erased_at is not null as erased
    from rollcall.users where source = $1 and id = i.id limit 1
  ) u
  where erased or (i.id in (select id from state where living)) is not true
), dropped as (
  delete from rollcall.users
  where ctid = any (array(select place from others where not known))
    and ((tableoid, ctid) in (select part, place from others where not known)) is true
), roll as (
  insert into rollcall.users as u (source, id, version, changed_at, config, %[2]s, deleted_at, kept)
  select $1, id, version, pg_catalog.clock_timestamp(), $8::integer, %[3]s, deleted_at, pg_catalog.string_to_array(kept, ' ')
  from state
  where (living or (there or deleted) and id in (select id from others where living))
    and (id in (select id from others where erased)) is not true
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
select s.id, s.living and o.erased is not true, r.id is not null, not s.there and not s.deleted and o.living is true, o.known is false, coalesce(s.kept, '')
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
