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
	commits   commits     // what they say about the database
	pace      settle.Pace // of Bring
	changing  sync.Mutex
	tables    atomic.Pointer[map[string]*tableSource] // by source
}

// New makes a roll that has no table source yet.
func New(targets *settle.Targets, users *directory.Directory, box *outbox.Outbox) *Roll {
	return &Roll{targets: targets, directory: users, outbox: box}
}

// On is the same roll that settles other targets, such as those of a dry run.
func (r *Roll) On(targets *settle.Targets) *Roll {
	o := New(targets, r.directory, r.outbox)
	o.tables.Store(r.tables.Load())
	return o
}

// Apply records a batch of events, brings the roll up to date and settles every target,
// in one transaction, and returns the outcome of each event. Events about organisations and memberships,
// signals, and events that only name a user take transactions of their own. An error wraps event.ErrUnavailable and means that
// nothing of the batch is acknowledged: it was rolled back, or its fate is unknown and a repetition is
// harmless.
func (r *Roll) Apply(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	var bodies, teams, signals []int
	for i := range events {
		switch e := &events[i]; {
		case ofTeam(e):
			teams = append(teams, i)
		case r.Signal(e) || bodiless(e):
			signals = append(signals, i)
		default:
			bodies = append(bodies, i)
		}
	}
	if signals == nil && teams == nil {
		return r.applyBodies(ctx, events)
	}
	return applyParts(ctx, events, part{bodies, r.applyBodies}, part{teams, r.applyTeams}, part{signals, r.applySignals})
}

// part is some events of a batch, by their positions, and what applies them.
type part struct {
	at    []int
	apply applier
}

// applier applies events and returns the outcome of each.
type applier func(context.Context, []event.Event) ([]event.Outcome, error)

// applyParts applies the parts of a batch one after the other.
func applyParts(ctx context.Context, events []event.Event, parts ...part) ([]event.Outcome, error) {
	outcomes := make([]event.Outcome, len(events))
	for _, p := range parts {
		if len(p.at) == 0 {
			continue
		}
		some := make([]event.Event, len(p.at))
		for n, i := range p.at {
			some[n] = events[i]
		}
		done, err := p.apply(ctx, some)
		if err != nil {
			return nil, err
		}
		for n, i := range p.at {
			outcomes[i] = done[n]
		}
	}
	return outcomes, nil
}

// applyBodies is Apply for events that say themselves what is so.
func (r *Roll) applyBodies(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	if sooner, later := keptAfterOthers(events); later != nil {
		return applyParts(ctx, events, part{sooner, r.applyBodies}, part{later, r.applyBodies})
	}
	b := newBatch(users, withoutPastBans(events, time.Now()))
	w, done := b.work(r.targets.Fingerprint())
	r.endMembershipsOfUsers(b, w)
	waiting := r.waitingMembers(w, len(w.Open), b.users, make([]*int64, len(b.users)))
	var err error
	if !b.silent() {
		done.parked, err = r.targets.Commit(ctx, w)
		r.commits.committed(err)
	}
	if settle.FailedFor(err, settle.RollRefuses) {
		return r.isolate(ctx, events, err, r.applyBodies)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %d events: %w: %w", len(events), event.ErrUnavailable, err)
	}
	outcomes := b.outcomes(done)
	r.followUp(ctx, events, settled{b.writtenUsers(done), done.parked}, outcomes)
	r.settleWaiting(ctx, waiting)
	r.warnOfKept(ctx, events, outcomes)
	return outcomes, nil
}

// Work is the transaction of a batch of events that say themselves what is so.
func (r *Roll) Work(events []event.Event) *settle.Work {
	w, _ := newBatch(users, events).work(r.targets.Fingerprint())
	return w
}

// isolate finds the event whose content the roll itself refuses, by halves, and applies it
// without what a client writes; if the roll refuses that, too, it is recorded as undecodable.
// Decode repairs what PostgreSQL can't hold, so that this does not happen; should it, one event
// must not keep a batch from the roll for ever, nor a client the rest of its own event.
func (r *Roll) isolate(ctx context.Context, events []event.Event, poison error, apply applier) ([]event.Outcome, error) {
	if len(events) > 1 {
		half := len(events) / 2
		first, err := apply(ctx, events[:half])
		if err != nil {
			return nil, err
		}
		second, err := apply(ctx, events[half:])
		return slices.Concat(first, second), err
	}
	e := events[0]
	switch {
	case e.Op == event.Undecodable:
		return nil, fmt.Errorf("record an event: %w: %w", event.ErrUnavailable, poison)
	case e.User != nil && !e.User.Keeps() && !e.User.Dead():
		e = WithoutMetadata(e, "the roll refuses the metadata or a name")
		r.targets.Log.Error("the roll refuses an event; metadata and names keep their last known value, the rest is applied",
			"source", e.Source, "event", e.ID, "user", e.UserID, "error", poison)
	default:
		r.targets.Log.Error("the roll refuses an event; it is recorded as undecodable", "source", e.Source, "event", e.ID, "error", poison)
		e.Op, e.User, e.Organization, e.Membership = event.Undecodable, nil, nil, nil
	}
	return r.applyBodies(ctx, []event.Event{e})
}

// followUp settles the users of duplicates and those who are only to be settled, which the
// batch did not lock (locking them behind the roll's upsert would deadlock), and corrects the
// recorded outcome of events that were overtaken. If it fails, those who were to be settled
// are unavailable: they will be sent again.
func (r *Roll) followUp(ctx context.Context, events []event.Event, done settled, outcomes []event.Outcome) {
	w := repairWork(events, done.written, outcomes)
	if w == nil {
		return
	}
	parked, err := r.targets.Commit(ctx, w)
	if err != nil {
		r.targets.Log.Error("settling the users of duplicates, or correcting the outcome of overtaken events, failed; senders of duplicates are asked to try again",
			"duplicates", len(w.Users), "error", err)
	}
	for i := range outcomes {
		e := &events[i]
		switch again := toSettle(e, outcomes[i]); {
		case len(again) == 0:
		case err != nil:
			outcomes[i] = event.Unavailable
		case e.Op == event.Settle && slices.ContainsFunc(again, func(key settle.Key) bool { return done.parked[key] || parked[key] }):
			outcomes[i] = event.Parked
		}
	}
}

// settled are the rows that a transaction has written, in key order, and those of them that some target refuses.
type settled struct {
	written []settle.Key
	parked  map[settle.Key]bool
}

// toSettle names the rows of an event that are settled behind the batch.
func toSettle(e *event.Event, o event.Outcome) []settle.Key {
	switch {
	case e.Op == event.Settle && (e.Organization != nil || e.Membership != nil):
		return rowsOf(e)
	case e.Op == event.Settle:
		return []settle.Key{{Roll: &event.Users, Source: e.Source, ID: e.UserID}}
	case o == event.Duplicate:
		return rowsOf(e)
	default:
		return nil
	}
}
