// Package roll keeps the newest state of each user. What is applied to it settles the targets in the same
// transaction:
//
//	r := roll.New(targets, directory, outbox)
//	outcomes, err := r.Apply(ctx, events)
package roll

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/settle"
)

// Roll is the roll in one database. What is applied to it settles the targets.
type Roll struct {
	targets   *settle.Targets
	directory *directory.Directory
	outbox    *outbox.Outbox
	commits   commits // what they say about the database
	changing  sync.Mutex
	tables    atomic.Pointer[map[string]*tableSource] // by source
}

// New makes a roll that has no table source yet.
func New(targets *settle.Targets, users *directory.Directory, box *outbox.Outbox) *Roll {
	return &Roll{targets: targets, directory: users, outbox: box}
}

// Apply records a batch of events, brings the roll up to date and settles every target,
// in one transaction, and returns the outcome of each event. Signals, and events that
// only name a user, take transactions of their own. An error wraps event.ErrUnavailable and means that
// nothing of the batch is acknowledged: it was rolled back, or its fate is unknown and a repetition is
// harmless.
func (r *Roll) Apply(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	looks := func(e *event.Event) bool { return r.Signal(e) || bodiless(e) }
	if !slices.ContainsFunc(events, func(e event.Event) bool { return looks(&e) }) {
		return r.applyBodies(ctx, events)
	}
	var at [2][]int
	for i := range events {
		lane := 0
		if looks(&events[i]) {
			lane = 1
		}
		at[lane] = append(at[lane], i)
	}
	outcomes := make([]event.Outcome, len(events))
	for lane, apply := range []func(context.Context, []event.Event) ([]event.Outcome, error){r.applyBodies, r.applySignals} {
		part := make([]event.Event, len(at[lane]))
		for n, i := range at[lane] {
			part[n] = events[i]
		}
		if len(part) == 0 {
			continue
		}
		done, err := apply(ctx, part)
		if err != nil {
			return nil, err
		}
		for n, i := range at[lane] {
			outcomes[i] = done[n]
		}
	}
	return outcomes, nil
}

// applyBodies is Apply for events that say themselves what is so.
func (r *Roll) applyBodies(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	if later := keptAfterOthers(events); later != nil {
		return r.applyInTurn(ctx, events, later)
	}
	b := newBatch(users, withoutPastBans(events, time.Now()))
	w, done := b.work(r.targets.Fingerprint)
	var err error
	if !b.silent() {
		done.parked, err = r.targets.Commit(ctx, w)
		r.commits.committed(err)
	}
	if settle.FailedFor(err, settle.RollRefuses) {
		return r.isolate(ctx, events, err)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %d events: %w: %w", len(events), event.ErrUnavailable, err)
	}
	outcomes := b.outcomes(done)
	r.followUp(ctx, b, done, outcomes)
	r.warnOfKept(ctx, events, outcomes)
	return outcomes, nil
}

// Work is the transaction of a batch of events that say themselves what is so.
func (r *Roll) Work(events []event.Event) *settle.Work {
	w, _ := newBatch(users, events).work(r.targets.Fingerprint)
	return w
}

// isolate finds the event whose content the roll itself refuses, by halves, and applies it
// without what a client writes; if the roll refuses that, too, it is recorded as undecodable.
// Decode repairs what PostgreSQL can't hold, so that this does not happen; should it, one event
// must not keep a batch from the roll for ever, nor a client the rest of its own event.
func (r *Roll) isolate(ctx context.Context, events []event.Event, poison error) ([]event.Outcome, error) {
	if len(events) == 1 && events[0].Op == event.Undecodable {
		return nil, fmt.Errorf("record an event: %w: %w", event.ErrUnavailable, poison)
	}
	if len(events) == 1 && events[0].User != nil && !events[0].User.Keeps() && !events[0].User.Dead() {
		e := WithoutMetadata(events[0], "the roll refuses the metadata or a name")
		r.targets.Log.Error("the roll refuses an event; metadata and names keep their last known value, the rest is applied",
			"source", e.Source, "event", e.ID, "user", e.UserID, "error", poison)
		return r.applyBodies(ctx, []event.Event{e})
	}
	if len(events) == 1 {
		e := events[0]
		r.targets.Log.Error("the roll refuses an event; it is recorded as undecodable", "source", e.Source, "event", e.ID, "error", poison)
		e.Op, e.User = event.Undecodable, nil
		return r.applyBodies(ctx, []event.Event{e})
	}
	half := len(events) / 2
	first, err := r.applyBodies(ctx, events[:half])
	if err != nil {
		return nil, err
	}
	second, err := r.applyBodies(ctx, events[half:])
	return slices.Concat(first, second), err
}

// followUp settles the users of duplicates and those who are only to be settled, which the
// batch did not lock (locking them behind the roll's upsert would deadlock), and corrects the
// recorded outcome of events that were overtaken. If it fails, those who were to be settled
// are unavailable: they will be sent again.
func (r *Roll) followUp(ctx context.Context, b *batch, done *result, outcomes []event.Outcome) {
	w := repairWork(b, done, outcomes)
	if w == nil {
		return
	}
	settled, err := r.targets.Commit(ctx, w)
	if err != nil {
		r.targets.Log.Error("settling the users of duplicates, or correcting the outcome of overtaken events, failed; senders of duplicates are asked to try again",
			"duplicates", len(w.Users), "error", err)
	}
	for i := range outcomes {
		e := &b.events[i]
		switch u, again := b.toSettle(e, outcomes[i]); {
		case !again:
		case err != nil:
			outcomes[i] = event.Unavailable
		case e.Op == event.Settle && (done.parked[u] || settled[u]):
			outcomes[i] = event.Parked
		}
	}
}

// toSettle names the user of an event that is settled behind the batch.
func (b *batch) toSettle(e *event.Event, o event.Outcome) (settle.Key, bool) {
	record := b.roll.Of(e)
	switch {
	case e.Op == event.Settle:
		return settle.Key{Source: e.Source, ID: e.UserID}, true
	case o == event.Duplicate && record != nil:
		return keyOf(record), true
	default:
		return settle.Key{}, false
	}
}
