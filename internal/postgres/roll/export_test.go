package roll

import (
	"context"

	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
)

// What the package's tests reach.

const ManyUnlisted = manyUnlisted

var BansOverSQL = bansOverSQL

// ApplyTo applies events to another kind of roll.
func (r *Roll) ApplyTo(ctx context.Context, of *event.Roll, events []event.Event) ([]event.Outcome, error) {
	b := newBatch(&kind{Roll: of, write: writeStatement(of, rollStatement, firstSaid)}, events)
	w, done := b.work(r.targets.Fingerprint())
	var err error
	done.parked, err = r.targets.Commit(ctx, w)
	return b.outcomes(done), err
}

// Repair is the transaction that follows a batch of one event with an outcome.
func Repair(e event.Event, o event.Outcome) *settle.Work {
	return repairWork([]event.Event{e}, nil, []event.Outcome{o})
}

func (r *Roll) ApplyBodies(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	return r.applyBodies(ctx, events)
}

// Order is the ids of a batch: of the events that are recorded, and of users in the order of locks.
func Order(events []event.Event) (recorded, keys []string) {
	b := newBatch(users, events)
	for _, at := range b.recorded {
		recorded = append(recorded, b.events[at].ID)
	}
	for _, u := range b.users {
		keys = append(keys, u.ID)
	}
	return recorded, keys
}

// Look looks at users of a source, as far as one transaction does.
type Look struct {
	look
	signals *signals
}

func (r *Roll) NewLook(source string, events []event.Event) *Look {
	l := &Look{look: look{
		roll: r, source: r.followed(source), events: events, outcomes: make([]event.Outcome, len(events)),
		fresh: map[eventKey]bool{}, answered: map[eventKey]bool{},
	}}
	list := make([]int, len(events))
	for i := range list {
		list[i] = i
	}
	l.signals = newSignals(&l.look, list, false)
	return l
}

// LookWork is its transaction.
func (r *Roll) LookWork(source string, events []event.Event) *settle.Work {
	l := r.NewLook(source, events)
	w, _ := l.signals.work(&l.look)
	return w
}

// First runs it and returns the positions of events whose users it has not read.
func (l *Look) First(ctx context.Context) (unread []int, err error) {
	w, done := l.signals.work(&l.look)
	done.parked, err = l.roll.targets.Commit(ctx, w)
	return l.signals.conclude(&l.look, done), err
}

// Rest looks at those, and returns the outcomes of all.
func (l *Look) Rest(ctx context.Context, unread []int) ([]event.Outcome, error) {
	err := l.read(ctx, unread, false)
	return l.outcomes, err
}

func (r *Roll) BannedUntil(ctx context.Context, n int) ([]settle.Key, error) {
	return r.bansOver(ctx, n)
}

func EndBansWork(users []settle.Key) *settle.Work { return endBansWork(users) }

// TeamWork is the transaction of events about organisations and memberships.
func (r *Roll) TeamWork(events ...event.Event) *settle.Work {
	w, _, _ := newTeam(events).work(r.targets.Fingerprint())
	return w
}

// ForgetGoneSQL is forgetGone for the table of a source.
func (r *Roll) ForgetGoneSQL(source string) string { return r.followed(source).forgetGone }

// StatementsOf are those about the table of a source, each with the types of its parameters.
func (r *Roll) StatementsOf(source string) map[string]string {
	t := r.followed(source)
	return map[string]string{
		t.bring:      "text, text, integer, bigint, integer, text, integer",
		t.forgetGone: "text, text, text",
		t.read:       "text, text[], boolean[], bigint[], text[], text[], bigint, integer, integer",
	}
}
