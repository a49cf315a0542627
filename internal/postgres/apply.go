package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/event"
	"rollcall/internal/postgres/sqlstate"
)

// Apply records a batch of events, brings the roll up to date and settles every target,
// in one transaction, and returns the outcome of each event. Signals, and events without a user
// that were made for a source that was a table source then, take transactions of their own. An error wraps event.ErrUnavailable and means that nothing of the
// batch is acknowledged: it was rolled back, or its fate is unknown and a repetition is harmless.
func (db *DB) Apply(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	looks := func(e *event.Event) bool { return db.Signal(e) || bodiless(e) }
	if !slices.ContainsFunc(events, func(e event.Event) bool { return looks(&e) }) {
		return db.applyBodies(ctx, events)
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
	for lane, apply := range []func(context.Context, []event.Event) ([]event.Outcome, error){db.applyBodies, db.applySignals} {
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
func (db *DB) applyBodies(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	if later := keptAfterOthers(events); later != nil {
		return db.applyInTurn(ctx, events, later)
	}
	b := newBatch(users, withoutPastBans(events, time.Now()))
	done, err := &result{}, error(nil)
	if !b.silent() {
		done, err = db.commit(ctx, db.rollWork(b))
		db.commits.committed(err)
	}
	if failedFor(err, rollRefuses) {
		return db.isolate(ctx, events, err)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %d events: %w: %w", len(events), event.ErrUnavailable, err)
	}
	outcomes := b.outcomes(done)
	db.followUp(ctx, b, done, outcomes)
	db.warnOfKept(ctx, events, outcomes)
	return outcomes, nil
}

// isolate finds the event whose content the roll itself refuses, by halves, and applies it
// without what a client writes; if the roll refuses that, too, it is recorded as undecodable.
// Decode repairs what PostgreSQL can't hold, so that this does not happen; should it, one event
// must not keep a batch from the roll for ever, nor a client the rest of its own event.
func (db *DB) isolate(ctx context.Context, events []event.Event, poison error) ([]event.Outcome, error) {
	if len(events) == 1 && events[0].Op == event.Undecodable {
		return nil, fmt.Errorf("record an event: %w: %w", event.ErrUnavailable, poison)
	}
	if len(events) == 1 && events[0].User != nil && !events[0].User.Keeps() && !events[0].User.Dead() {
		e := WithoutMetadata(events[0], "the roll refuses the metadata or a name")
		db.log.Error("the roll refuses an event; metadata and names keep their last known value, the rest is applied",
			"source", e.Source, "event", e.ID, "user", e.UserID, "error", poison)
		return db.applyBodies(ctx, []event.Event{e})
	}
	if len(events) == 1 {
		e := events[0]
		db.log.Error("the roll refuses an event; it is recorded as undecodable", "source", e.Source, "event", e.ID, "error", poison)
		e.Op, e.User = event.Undecodable, nil
		return db.applyBodies(ctx, []event.Event{e})
	}
	half := len(events) / 2
	first, err := db.applyBodies(ctx, events[:half])
	if err != nil {
		return nil, err
	}
	second, err := db.applyBodies(ctx, events[half:])
	return slices.Concat(first, second), err
}

// followUp settles the users of duplicates and those who are only to be settled, which the
// batch did not lock (locking them behind the roll's upsert would deadlock), and corrects the
// recorded outcome of events that were overtaken. If it fails, those who were to be settled
// are unavailable: they will be sent again.
func (db *DB) followUp(ctx context.Context, b *batch, done *result, outcomes []event.Outcome) {
	w := repairWork(b, done, outcomes)
	if w == nil {
		return
	}
	settled, err := db.commit(ctx, w)
	if err != nil {
		db.log.Error("settling the users of duplicates, or correcting the outcome of overtaken events, failed; senders of duplicates are asked to try again",
			"duplicates", len(w.users), "error", err)
	}
	for i := range outcomes {
		e := &b.events[i]
		switch u, again := b.toSettle(e, outcomes[i]); {
		case !again:
		case err != nil:
			outcomes[i] = event.Unavailable
		case e.Op == event.Settle && (done.parked[u] || settled.parked[u]):
			outcomes[i] = event.Parked
		}
	}
}

// toSettle names the user of an event that is settled behind the batch.
func (b *batch) toSettle(e *event.Event, o event.Outcome) (userKey, bool) {
	record := b.roll.Of(e)
	switch {
	case e.Op == event.Settle:
		return userKey{e.Source, e.UserID}, true
	case o == event.Duplicate && record != nil:
		return keyOf(record), true
	default:
		return userKey{}, false
	}
}

// commit runs a transaction: in one round trip, which goes on by itself behind a piece that a target
// refuses, or piece by piece where it can't. What fails for a passing reason (a deadlock, a lost
// connection) is tried three times. Even such a reason, or one of the server's, may come from one
// target's trigger, for instance when another server, which the trigger asks, is away: then the last try
// finds out.
func (db *DB) commit(ctx context.Context, w *work) (*result, error) {
	const tries = 3
	for try := 1; ; try++ {
		last := try == tries
		w.only = db.newest(w.only)
		done, err := db.pipelined(ctx, w, last)
		if failedFor(err, unexplained, constraintRefuses) || last && failedFor(err, transient) && sqlstate.Of(err) != "" {
			if failedFor(err, transient) {
				pause(ctx) // two batches that wait for each other must not do so again at once
			}
			done, err = db.isolated(ctx, w, err, last)
		}
		if failedFor(err, constraintRefuses) {
			done, err = db.isolated(ctx, w, err, last)
		}
		if err == nil {
			return done, nil
		}
		db.tripTable(w, err)
		err = sqlstate.Mask(err)
		if sqlstate.ClassOf(err) != sqlstate.Retry || failedFor(err, othersTurn, outOfService) || last || ctx.Err() != nil {
			return nil, err
		}
		db.log.Info("a transaction is tried again", "try", try, "error", err)
		if sqlstate.Of(err) == sqlstate.NotSupported { // a stale plan
			db.pool.Reset() // a new session prepares its statements for the table as it is
		}
		pause(ctx)
	}
}

// tripTable takes the one target of a transaction out of service if its table could not be had.
func (db *DB) tripTable(w *work, err error) {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	if ok && failedFor(err, outOfService) {
		db.trip(w.only, answer)
	}
}

// pause waits 5 to 50 ms, so that what collided does not collide again.
func pause(ctx context.Context) {
	select {
	case <-time.After(5*time.Millisecond + rand.N(45*time.Millisecond)): //nolint:gosec // a pause is no secret
	case <-ctx.Done():
	}
}
