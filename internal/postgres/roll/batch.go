package roll

import (
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
)

// eventKey names a row of rollcall.events.
type eventKey settle.Key

func eventKeyOf(e *event.Event) eventKey { return eventKey{Source: e.Source, ID: e.ID} }

// batch is the events that are applied together to one roll, as the parameters of rollStatement.
type batch struct {
	roll   *kind
	events []event.Event
	// recorded are the events with an id, each id once, in key order; said are those that carry a
	// record of the roll, in the order of arrival. Both are positions in events.
	recorded, said []int
	records        []event.Record // of said
	users          []settle.Key   // whose records they are, each once, in key order
	deletes        bool           // a record is a tombstone
	captured       []int64        // the rows of the outbox they were made of
}

// newBatch sorts events out. Of several with one id the first counts.
func newBatch(roll *kind, events []event.Event) *batch {
	b := &batch{roll: roll, events: events}
	seen := make(map[eventKey]bool, len(events))
	users := make(map[settle.Key]bool, len(events))
	for i := range events {
		e := &events[i]
		b.captured = append(b.captured, e.Captured...)
		if e.ID != "" {
			if seen[eventKeyOf(e)] {
				continue
			}
			seen[eventKeyOf(e)] = true
			b.recorded = append(b.recorded, i)
		}
		record := roll.Of(e)
		if record == nil {
			continue
		}
		b.said, b.records = append(b.said, i), append(b.records, record)
		users[roll.keyOf(record)] = true
		b.deletes = b.deletes || record.Head().Dead()
	}
	slices.SortFunc(b.recorded, func(x, y int) int {
		return settle.CompareKeys(settle.Key(eventKeyOf(&events[x])), settle.Key(eventKeyOf(&events[y])))
	})
	for u := range users {
		b.users = append(b.users, u)
	}
	slices.SortFunc(b.users, settle.CompareKeys)
	return b
}

// versions are the newest that the events have of each of the users.
func (b *batch) versions() []*int64 {
	newest := make([]*int64, len(b.users))
	for _, r := range b.records {
		at, _ := slices.BinarySearchFunc(b.users, b.roll.keyOf(r), settle.CompareKeys)
		if v := &r.Head().Version; newest[at] == nil || *newest[at] < *v {
			newest[at] = v
		}
	}
	return newest
}

// keyOf names the row of a record.
func (k *kind) keyOf(r event.Record) settle.Key {
	return settle.Key{Roll: k.Roll, Source: r.Head().Source, ID: r.Head().ID}
}

// silent: there is nothing in it for the roll.
func (b *batch) silent() bool {
	return len(b.recorded) == 0 && len(b.said) == 0 && len(b.captured) == 0
}

// eventArrays are the parameters $1-$8 of rollStatement.
func (b *batch) eventArrays() []any {
	n := len(b.recorded)
	source, id, kind, user := make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	outcome, received, body, reason := make([]string, n), make([]time.Time, n), make([][]byte, n), make([]*string, n)
	for i, at := range b.recorded {
		e := &b.events[at]
		source[i], id[i], kind[i], outcome[i] = e.Source, e.ID, e.Type, string(recordedAs(e.Op))
		if e.UserID != "" {
			user[i] = &e.UserID
		}
		received[i], body[i] = e.ReceivedAt, e.Body
		if e.Reason != "" && (e.Op == event.Announce || e.Op == event.Refuse) {
			reason[i] = &e.Reason
		}
	}
	return []any{source, id, kind, user, outcome, received, body, reason}
}

// recordedAs is the outcome an event is recorded with; the few that end otherwise are
// corrected.
func recordedAs(op event.Op) event.Outcome {
	switch op {
	case event.Announce:
		return event.Announced
	case event.Refuse:
		return event.Refused
	case event.Undecodable:
		return event.UndecodableBody
	default:
		return event.Applied
	}
}

// recordArrays are the parameters of rollStatement that say what the events carry, in the order of saidOf.
func (b *batch) recordArrays() []any {
	ids, seen := b.origins()
	arrays := []any{
		ids,
		gather(b, func(r event.Record) string { return r.Head().Source }),
		gather(b, func(r event.Record) string { return r.Head().ID }),
		gather(b, func(r event.Record) int64 { return r.Head().Version }),
	}
	for i := range b.roll.Fields {
		arrays = append(arrays, b.array(&b.roll.Fields[i]))
	}
	deleted := gather(b, func(r event.Record) *time.Time { return r.Head().DeletedAt })
	return append(arrays, deleted, seen, gather(b, keptColumns), b.positions())
}

// positions number everything said, from 1, in the order of arrival.
func (b *batch) positions() []int64 {
	list := make([]int64, len(b.said))
	for i := range list {
		list[i] = int64(i) + 1
	}
	return list
}

// array is a field of everything said.
func (b *batch) array(f *event.Field) any {
	switch f.Type {
	case event.Boolean:
		return gather(b, func(r event.Record) *bool {
			if r.Head().Dead() {
				return nil
			}
			return pointer[*bool](f, r)
		})
	case event.Integer:
		return gather(b, func(r event.Record) *int64 { return *pointer[**int64](f, r) })
	case event.Time:
		return gather(b, func(r event.Record) *time.Time { return *pointer[**time.Time](f, r) })
	case event.JSON:
		return gather(b, func(r event.Record) *string {
			if text := pointer[*string](f, r); *text != "" && !r.Head().Dead() {
				return text
			}
			return nil
		})
	default:
		return gather(b, func(r event.Record) *string { return *pointer[**string](f, r) })
	}
}

// pointer is where a record has a field of a known type.
func pointer[T any](f *event.Field, r event.Record) T {
	at, _ := f.At(r).(T) // the type says so: see event.Type
	return at
}

// keptColumns are the columns that keep what the roll has, nil for none.
func keptColumns(r event.Record) *string {
	if len(r.Head().Kept) == 0 {
		return nil
	}
	list := strings.Join(r.Head().Kept, ",")
	return &list
}

// origins says of everything said about users where it comes from: the event's id, the moment of an observation.
func (b *batch) origins() (ids []*string, seen []*time.Time) {
	ids, seen = make([]*string, len(b.said)), make([]*time.Time, len(b.said))
	for i, at := range b.said {
		e := &b.events[at]
		if e.ID != "" {
			ids[i] = &e.ID
		}
		if !e.SeenAt.IsZero() {
			seen[i] = &e.SeenAt
		}
	}
	return ids, seen
}

// outboxRows are the rows of the outbox that everything said about users comes from, nil for none.
func (b *batch) outboxRows() []*int64 {
	rows := make([]*int64, len(b.said))
	for i, at := range b.said {
		if of := b.events[at].Captured; len(of) > 0 {
			rows[i] = &of[len(of)-1]
		}
	}
	return rows
}

// gather lists one value of everything said.
func gather[T any](b *batch, value func(event.Record) T) []T {
	list := make([]T, len(b.records))
	for i, r := range b.records {
		list[i] = value(r)
	}
	return list
}

// result is what a transaction did.
type result struct {
	fresh   map[eventKey]bool   // events seen for the first time
	written map[int64]bool      // positions in said, from 1, whose user is now in the roll
	parked  map[settle.Key]bool // users that some target does not follow for the moment
	seen    map[string]seen     // users that a look at their table has read
}

// outcomes tells each event what became of it.
func (b *batch) outcomes(r *result) []event.Outcome {
	outcomes := make([]event.Outcome, len(b.events))
	for _, at := range b.recorded {
		if e := &b.events[at]; r.fresh[eventKeyOf(e)] {
			outcomes[at] = recordedAs(e.Op)
		}
	}
	for n, at := range b.said {
		e := &b.events[at]
		switch {
		case e.ID != "" && outcomes[at] == "":
		case !r.written[int64(n)+1]:
			outcomes[at] = event.Stale
		case r.parked[b.roll.keyOf(b.records[n])]:
			outcomes[at] = event.Parked
		default:
			outcomes[at] = event.Applied
		}
	}
	for i := range outcomes {
		switch {
		case outcomes[i] != "":
		case b.events[i].ID == "": // nothing of it was to be recorded
			outcomes[i] = recordedAs(b.events[i].Op)
		default:
			outcomes[i] = event.Duplicate
		}
	}
	return outcomes
}

// writtenUsers are the users that the roll statement wrote, in key order.
func (b *batch) writtenUsers(r *result) []settle.Key {
	var users []settle.Key
	for n := range b.said {
		if r.written[int64(n)+1] {
			users = append(users, b.roll.keyOf(b.records[n]))
		}
	}
	slices.SortFunc(users, settle.CompareKeys)
	return users
}

// work writes what a batch says, and where it notes what was done.
func (b *batch) work(fingerprint int32) (*settle.Work, *result) {
	done := &result{}
	write, args := b.roll.write, slices.Concat(b.eventArrays(), b.recordArrays())
	if len(b.captured) > 0 {
		write, args = b.roll.writeCaptured, append(args, b.outboxRows(), b.captured)
	}
	open := []settle.Step{{Kind: settle.Writing, SQL: write, Args: append(args, fingerprint), Read: done.readRoll}}
	return &settle.Work{
		Purpose: settle.RecordEvents, Users: b.users, Deletes: b.deletes,
		Open:       append(open, b.takeBodies()...),
		Held:       func() []settle.Key { return b.writtenUsers(done) },
		MarkParked: b.markParked,
	}, done
}

// takeBodies leaves none of the bodies that are about users who were erased. The rows of the users are locked: by
// what wrote the roll, or here, where an event says nothing of it. These locks come behind those of the users that
// were written, against the order of locks: two batches that each announce a user of the other may wait for each
// other, and then one of them runs again.
func (b *batch) takeBodies() []settle.Step {
	var sources, ids, about []string
	var unlocked []settle.Key
	for _, at := range b.recorded {
		e := &b.events[at]
		if e.Body == nil || e.UserID == "" {
			continue
		}
		sources, ids, about = append(sources, e.Source), append(ids, e.ID), append(about, e.UserID)
		if b.roll == users && e.User == nil {
			unlocked = append(unlocked, settle.Key{Roll: &event.Users, Source: e.Source, ID: e.UserID})
		}
	}
	if len(ids) == 0 {
		return nil
	}
	take := settle.Step{Kind: settle.Writing, SQL: bodiesOfErasedSQL, Args: []any{sources, ids, about}}
	if len(unlocked) == 0 {
		return []settle.Step{take}
	}
	slices.SortFunc(unlocked, settle.CompareKeys)
	return append(settle.LockWork(slices.Compact(unlocked)).Open, take)
}

func (r *result) readRoll(rows pgx.Rows) error {
	r.fresh, r.written = map[eventKey]bool{}, map[int64]bool{}
	var source, id *string
	var n *int64
	_, err := pgx.ForEachRow(rows, []any{&source, &id, &n}, func() error {
		if n != nil {
			r.written[*n] = true
		} else {
			r.fresh[eventKey{Source: *source, ID: *id}] = true
		}
		return nil
	})
	return err
}

// markParked corrects the outcome of the batch's events about users who were parked.
func (b *batch) markParked(parked map[settle.Key]bool, locked bool) []settle.Step {
	var sources, ids, users []string
	for _, at := range b.recorded {
		e := &b.events[at]
		if r := b.roll.Of(e); r != nil && parked[b.roll.keyOf(r)] {
			sources, ids, users = append(sources, e.Source), append(ids, e.ID), append(users, r.Head().ID)
		}
	}
	return []settle.Step{{Kind: settle.Parking, SQL: settle.On(b.roll.Roll, markParkedSQL), Args: []any{sources, ids, users, locked}}}
}

// repairWork corrects the outcome of overtaken events, and settles users of duplicates and those who are
// only to be settled; nil when nothing is left to do.
func repairWork(events []event.Event, written []settle.Key, outcomes []event.Outcome) *settle.Work {
	var stale, users []settle.Key
	for i, o := range outcomes {
		e := &events[i]
		if o == event.Stale && e.ID != "" {
			stale = append(stale, settle.Key(eventKeyOf(e)))
		}
		for _, u := range toSettle(e, o) {
			if _, settled := slices.BinarySearchFunc(written, u, settle.CompareKeys); !settled {
				users = append(users, u)
			}
		}
	}
	slices.SortFunc(stale, settle.CompareKeys)
	slices.SortFunc(users, settle.CompareKeys)
	w := &settle.Work{Purpose: settle.SettleUsers}
	if len(users) > 0 {
		w = settle.LockWork(slices.Compact(users))
	}
	if len(stale) > 0 {
		sources, ids := settle.KeyArrays(stale)
		w.Open = slices.Insert(w.Open, 0, settle.Step{Kind: settle.Writing, SQL: markStaleSQL, Args: []any{sources, ids}})
	}
	if len(w.Open) == 0 {
		return nil
	}
	return w
}
