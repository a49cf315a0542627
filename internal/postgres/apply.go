package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/sql"
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
	var poison *rollRefusal
	if errors.As(err, &poison) {
		return db.isolate(ctx, events, poison)
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
func (db *DB) isolate(ctx context.Context, events []event.Event, poison *rollRefusal) ([]event.Outcome, error) {
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

// followUp settles the users of duplicates and those who are only to be settled, whom the
// batch did not hold (locking them behind the roll's upsert would deadlock), and corrects the
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
		switch u, again := toSettle(e, outcomes[i]); {
		case !again:
		case err != nil:
			outcomes[i] = event.Unavailable
		case e.Op == event.Settle && (done.parked[u] || settled.parked[u]):
			outcomes[i] = event.Parked
		}
	}
}

// work is what one transaction does: it opens with the roll statement or with locks,
// and settles users.
type work struct {
	open  []statement
	users []userKey
	// held: the users are locked by what opens the transaction. Otherwise only those are
	// settled whom the roll statement writes.
	held bool
	// departures: somebody may be gone, so that every target's removal has to run.
	departures bool
	// table takes the table of only before anything else; "" where the role may not.
	table string
	// only is the one target to settle, in service or not; nil for all that are.
	only *compiled
	// retry: the users were parked, and this is another try.
	retry bool
	batch *batch // nil unless open is the roll statement
}

type statement struct {
	sql  string
	args []any
	read func(pgx.Rows, *result) error // nil when only success counts
	// piece: it is a target's, and its failure that target's affair.
	piece bool
}

// among picks the targets to settle.
func (w *work) among(targets []*compiled) []*compiled {
	if w.only == nil {
		return targets
	}
	return []*compiled{w.only}
}

func (db *DB) rollWork(b *batch) *work {
	return &work{
		open:       []statement{{sql: b.roll.write, args: slices.Concat(b.eventArrays(), b.recordArrays(), []any{b.captured, db.fingerprint}), read: readRoll}},
		users:      b.users,
		departures: b.deletes,
		batch:      b,
	}
}

func readRoll(rows pgx.Rows, r *result) error {
	r.fresh, r.written = map[eventKey]bool{}, map[int64]bool{}
	var source, id *string
	var n *int64
	_, err := pgx.ForEachRow(rows, []any{&source, &id, &n}, func() error {
		if n != nil {
			r.written[*n] = true
		} else {
			r.fresh[eventKey{*source, *id}] = true
		}
		return nil
	})
	return err
}

// repairWork is nil when nothing is left to do.
func repairWork(b *batch, done *result, outcomes []event.Outcome) *work {
	written := b.writtenUsers(done)
	var stale []userKey
	users := map[userKey]bool{}
	for i, o := range outcomes {
		e := &b.events[i]
		if o == event.Stale && e.ID != "" {
			stale = append(stale, userKey(eventKeyOf(e)))
		}
		if u, again := toSettle(e, o); again {
			users[u] = true
		}
	}
	w := &work{held: true, departures: true}
	for u := range users {
		if _, ok := slices.BinarySearchFunc(written, u, compareKeys); !ok {
			w.users = append(w.users, u)
		}
	}
	if len(stale) > 0 {
		slices.SortFunc(stale, compareKeys)
		sources, ids := keyArrays(stale)
		w.open = append(w.open, statement{sql: sql.MarkStale, args: []any{sources, ids}})
	}
	if len(w.users) > 0 {
		slices.SortFunc(w.users, compareKeys)
		sources, ids := keyArrays(w.users)
		w.open = append(w.open, statement{sql: sql.Lock, args: []any{sources, ids}})
	}
	if len(w.open) == 0 {
		return nil
	}
	return w
}

// toSettle names the user of an event that is settled behind the batch.
func toSettle(e *event.Event, o event.Outcome) (userKey, bool) {
	switch {
	case e.Op == event.Settle:
		return userKey{e.Source, e.UserID}, true
	case o == event.Duplicate && e.User != nil:
		return userKey{e.User.Source, e.User.ID}, true
	default:
		return userKey{}, false
	}
}

// commit runs a transaction: the pieces together in one round trip, which goes on by itself
// behind one that a target refuses, or all apart where it can't. What blames nobody (a
// deadlock, a lost connection) is tried three times.
func (db *DB) commit(ctx context.Context, w *work) (*result, error) {
	const tries = 3
	for try := 1; ; try++ {
		w.only = db.newest(w.only)
		done, err := db.together(ctx, w, try == tries)
		if errors.Is(err, errOthersTurn) {
			return nil, err
		}
		if err != nil && apartHelps(err, try == tries) {
			if blameOf(err) == blameNobody {
				pause(ctx) // two batches that wait for each other must not do so again at once
			}
			done, err = db.apart(ctx, w, err, try == tries)
		}
		if errors.As(err, new(*deferredRefusal)) {
			done, err = db.apart(ctx, w, err, try == tries)
		}
		if err == nil {
			return done, nil
		}
		if errors.As(err, new(*outOfService)) || errors.Is(err, errOthersTurn) {
			return nil, err
		}
		err = &maskedError{err}
		if blameOf(err) != blameNobody || try == tries || ctx.Err() != nil {
			return nil, err
		}
		db.log.Info("a transaction is tried again", "try", try, "error", err)
		if stateOf(err) == notSupported { // blames nobody: a stale plan
			db.pool.Reset() // a new session prepares its statements for the table as it is
		}
		pause(ctx)
	}
}

// apartHelps reports whether the pieces of a transaction should be run by themselves. Even a
// code that blames nobody or the server may come from one target's trigger, for instance
// when another server, which the trigger asks, is away: then the last try finds out.
func apartHelps(err error, last bool) bool {
	switch blameOf(err) {
	case blameNobody:
		return last && stateOf(err) != ""
	default:
		return true
	}
}

// pause waits 5 to 50 ms, so that what collided does not collide again.
func pause(ctx context.Context) {
	select {
	case <-time.After(5*time.Millisecond + rand.N(45*time.Millisecond)): //nolint:gosec // a pause is no secret
	case <-ctx.Done():
	}
}
