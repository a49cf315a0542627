package roll

import (
	"fmt"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/target"
)

// kind is a kind of roll with the statements that follow from its fields.
type kind struct {
	*event.Roll
	write string
}

// users is the roll of users.
var users = newKind(&event.Users)

func newKind(r *event.Roll) *kind { return &kind{Roll: r, write: writeRoll(r)} }

// rollStatement records events and brings a roll (%[1]s) up to date, in one statement.
// $1-$7 are the events, in the order of (source, id), each id once.
// $8 and the following (%[2]s) are what they, and the observations without an event, say about rows
// (%[3]s), each with the row of the outbox it comes from, the moment of which an observation speaks,
// and the columns, separated by commas, that keep what the roll has; all three mostly null.
// %[4]s are the rows of the outbox that all of this was made of, %[5]s is the set of targets.
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
// It returns (source, id, null) for each event that is new and (null, null, n) for each row
// written, n counting from 1.
const rollStatement = `with event as (
  insert into rollcall.events (source, id, type, user_id, outcome, received_at, body)
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[])
  on conflict do nothing
  returning source, id
), captured as (
  delete from rollcall.outbox where id = any(%[4]s::bigint[]) returning id
), said as (
  select * from unnest(%[2]s)
  with ordinality as s (event_id, source, id, version, %[3]s, deleted_at, captured, seen_at, kept, n)
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
  insert into %[1]s as u (source, id, version, changed_at, config, %[3]s, deleted_at, kept)
  select source, id, version, coalesce(seen_at, pg_catalog.clock_timestamp()), %[5]s::integer, %[6]s, deleted_at, string_to_array(kept, ',')
  from newest
  order by source collate "C", id collate "C"
  on conflict (source, id) do update set
    version = excluded.version,
    changed_at = excluded.changed_at,
    config = excluded.config,
    %[7]s,
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
select e.source, e.id, null::bigint as n from event e
union all
select null as source, null as id, w.n from newest w join roll r on r.source = w.source and r.id = w.id`

// writeRoll is rollStatement for a kind of roll; batch.recordArrays has the same order.
func writeRoll(r *event.Roll) string {
	const first = 8
	types := []string{"text", "text", "text", "bigint"}
	var columns, values, set []string
	for i := range r.Fields {
		f := &r.Fields[i]
		typed, value, next := string(f.Type), f.Name, "excluded."+f.Name
		if f.Type == event.JSON { // as a text, so that no driver decodes it
			typed, value = "text", f.Name+"::jsonb"
		}
		if f.Keeps {
			next = fmt.Sprintf("case when %s = any(excluded.kept) then u.%s else %s end", target.Literal(f.Name), f.Name, next)
		}
		types, columns, values = append(types, typed), append(columns, f.Name), append(values, value)
		set = append(set, f.Name+" = "+next)
	}
	types = append(types, "timestamptz", "bigint", "timestamptz", "text")
	params := make([]string, len(types))
	for i, t := range types {
		params[i] = fmt.Sprintf("$%d::%s[]", first+i, t)
	}
	captured, config := first+len(types), first+len(types)+1
	return fmt.Sprintf(rollStatement, r.Table, strings.Join(params, ", "), strings.Join(columns, ", "),
		fmt.Sprintf("$%d", captured), fmt.Sprintf("$%d", config), strings.Join(values, ", "), strings.Join(set, ",\n    "))
}
