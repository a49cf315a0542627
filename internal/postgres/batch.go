package postgres

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"rollcall/internal/event"
)

// userKey names a row of the roll.
type userKey struct{ source, id string }

// eventKey names a row of rollcall.events.
type eventKey struct{ source, id string }

func eventKeyOf(e *event.Event) eventKey { return eventKey{e.Source, e.ID} }

func compareKeys(a, b userKey) int {
	return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.id, b.id))
}

// batch is the events that are applied together, as the arrays of roll.sql.
type batch struct {
	events []event.Event
	// recorded are the events with an id, each id once, in key order; said are those that
	// say something about a user, in the order of arrival. Both are positions in events.
	recorded, said []int
	users          []userKey // whom they are about, each once, in key order
	deletes        bool      // somebody is deleted
	captured       []int64   // the rows of the outbox they were made of
}

// newBatch sorts events out. Of several with one id the first counts.
func newBatch(events []event.Event) *batch {
	b := &batch{events: events}
	seen := make(map[eventKey]bool, len(events))
	users := make(map[userKey]bool, len(events))
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
		if e.User == nil {
			continue
		}
		b.said = append(b.said, i)
		users[userKey{e.User.Source, e.User.ID}] = true
		b.deletes = b.deletes || e.User.Dead()
	}
	slices.SortFunc(b.recorded, func(x, y int) int {
		return compareKeys(userKey(eventKeyOf(&events[x])), userKey(eventKeyOf(&events[y])))
	})
	for u := range users {
		b.users = append(b.users, u)
	}
	slices.SortFunc(b.users, compareKeys)
	return b
}

// silent: there is nothing in it for the roll.
func (b *batch) silent() bool {
	return len(b.recorded) == 0 && len(b.said) == 0 && len(b.captured) == 0
}

// eventArrays are the parameters $1-$7 of roll.sql.
func (b *batch) eventArrays() []any {
	n := len(b.recorded)
	source, id, kind, user := make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	outcome, received, body := make([]string, n), make([]time.Time, n), make([][]byte, n)
	for i, at := range b.recorded {
		e := &b.events[at]
		source[i], id[i], kind[i], outcome[i] = e.Source, e.ID, e.Type, string(recordedAs(e.Op))
		if e.UserID != "" {
			user[i] = &e.UserID
		}
		received[i], body[i] = e.ReceivedAt, e.Body
	}
	return []any{source, id, kind, user, outcome, received, body}
}

// recordedAs is the outcome an event is recorded with; the few that end otherwise are
// corrected.
func recordedAs(op event.Op) event.Outcome {
	switch op {
	case event.Announce:
		return event.Announced
	case event.Undecodable:
		return event.UndecodableBody
	default:
		return event.Applied
	}
}

// userArrays are the parameters $8-$35 of roll.sql.
func (b *batch) userArrays() []any {
	pick := func(value func(*event.User) *string) []*string { return gather(b, value) }
	moment := func(value func(*event.User) *time.Time) []*time.Time { return gather(b, value) }
	flag := func(value func(*event.User) bool) []*bool {
		return gather(b, func(u *event.User) *bool {
			if u.Dead() {
				return nil
			}
			v := value(u)
			return &v
		})
	}
	object := func(value func(*event.User) *string) []*string {
		return gather(b, func(u *event.User) *string {
			if u.Dead() {
				return nil
			}
			return value(u)
		})
	}
	ids, captured, seen := b.origins()
	return []any{
		ids,
		gather(b, func(u *event.User) string { return u.Source }),
		gather(b, func(u *event.User) string { return u.ID }),
		gather(b, func(u *event.User) int64 { return u.Version }),
		pick(func(u *event.User) *string { return u.ExternalID }),
		pick(func(u *event.User) *string { return u.Email }),
		flag(func(u *event.User) bool { return u.EmailVerified }),
		moment(func(u *event.User) *time.Time { return u.EmailConfirmedAt }),
		pick(func(u *event.User) *string { return u.Phone }),
		flag(func(u *event.User) bool { return u.PhoneVerified }),
		moment(func(u *event.User) *time.Time { return u.PhoneConfirmedAt }),
		pick(func(u *event.User) *string { return u.Username }),
		pick(func(u *event.User) *string { return u.FirstName }),
		pick(func(u *event.User) *string { return u.LastName }),
		pick(func(u *event.User) *string { return u.FullName }),
		pick(func(u *event.User) *string { return u.AvatarURL }),
		object(func(u *event.User) *string { return &u.RawUserMetaData }),
		object(func(u *event.User) *string { return &u.RawAppMetaData }),
		flag(func(u *event.User) bool { return u.IsAnonymous }),
		flag(func(u *event.User) bool { return u.Banned }),
		moment(func(u *event.User) *time.Time { return u.BannedUntil }),
		moment(func(u *event.User) *time.Time { return u.CreatedAt }),
		moment(func(u *event.User) *time.Time { return u.UpdatedAt }),
		moment(func(u *event.User) *time.Time { return u.LastSignInAt }),
		moment(func(u *event.User) *time.Time { return u.DeletedAt }),
		captured,
		seen,
		gather(b, keptColumns),
	}
}

// keptColumns are the columns that keep what the roll has, nil for none.
func keptColumns(u *event.User) *string {
	if len(u.Kept) == 0 {
		return nil
	}
	list := strings.Join(u.Kept, ",")
	return &list
}

// origins says of everything said about users where it comes from: the event's id, the row
// of the outbox, the moment of a finding.
func (b *batch) origins() (ids []*string, captured []*int64, seen []*time.Time) {
	ids, captured, seen = make([]*string, len(b.said)), make([]*int64, len(b.said)), make([]*time.Time, len(b.said))
	for i, at := range b.said {
		e := &b.events[at]
		if e.ID != "" {
			ids[i] = &e.ID
		}
		if n := len(e.Captured); n > 0 {
			captured[i] = &e.Captured[n-1]
		}
		if !e.SeenAt.IsZero() {
			seen[i] = &e.SeenAt
		}
	}
	return ids, captured, seen
}

// gather lists one field of everything said about users.
func gather[T any](b *batch, value func(*event.User) T) []T {
	list := make([]T, len(b.said))
	for i, at := range b.said {
		list[i] = value(b.events[at].User)
	}
	return list
}

// keyArrays are users as two arrays.
func keyArrays(users []userKey) (sources, ids []string) {
	sources, ids = make([]string, len(users)), make([]string, len(users))
	for i, u := range users {
		sources[i], ids[i] = u.source, u.id
	}
	return sources, ids
}

// result is what a transaction did.
type result struct {
	fresh   map[eventKey]bool // events seen for the first time
	written map[int64]bool    // positions in said, from 1, whose user is now in the roll
	parked  map[userKey]bool  // users whom some target does not follow for the moment
	seen    map[string]seen   // users that a look at their table has read
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
		case r.parked[userKey{e.User.Source, e.User.ID}]:
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
func (b *batch) writtenUsers(r *result) []userKey {
	var users []userKey
	for n, at := range b.said {
		if r.written[int64(n)+1] {
			users = append(users, userKey{b.events[at].User.Source, b.events[at].User.ID})
		}
	}
	slices.SortFunc(users, compareKeys)
	return users
}
