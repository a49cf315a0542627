package settle

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"rollcall/internal/postgres/sqlstate"

	"github.com/jackc/pgx/v5/pgconn"
)

// Commit runs a transaction: in one round trip, which goes on by itself behind a piece that a target
// refuses, or piece by piece where it can't. What fails for a passing reason (a deadlock, a lost
// connection) is tried three times. Even such a reason, or one of the server's, may come from one
// target's trigger, for instance when another server, which the trigger asks, is away: then the last try
// finds out.
func (ts *Targets) Commit(ctx context.Context, w *Work) (parked map[Key]bool, err error) {
	const tries = 3
	for try := 1; ; try++ {
		last := try == tries
		w.only = ts.newest(w.only)
		parked, err := ts.pipelined(ctx, w, last)
		if FailedFor(err, unexplained, constraintRefuses) || last && FailedFor(err, transient) && sqlstate.Of(err) != "" {
			if FailedFor(err, transient) {
				pause(ctx) // two batches that wait for each other must not do so again at once
			}
			parked, err = ts.isolated(ctx, w, err, last)
		}
		if FailedFor(err, constraintRefuses) {
			parked, err = ts.isolated(ctx, w, err, last)
		}
		if err == nil {
			return parked, nil
		}
		ts.tripTable(w, err)
		err = sqlstate.Mask(err)
		if sqlstate.ClassOf(err) != sqlstate.Retry || FailedFor(err, othersTurn, outOfService) || last || ctx.Err() != nil {
			return nil, err
		}
		ts.Log.Info("a transaction is tried again", "try", try, "error", err)
		if sqlstate.Of(err) == sqlstate.NotSupported { // a stale plan
			ts.Pool.Reset() // a new session prepares its statements for the table as it is
		}
		pause(ctx)
	}
}

// tripTable takes the one target of a transaction out of service if its table could not be had.
func (ts *Targets) tripTable(w *Work, err error) {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	if ok && FailedFor(err, outOfService) {
		ts.trip(w.only, answer)
	}
}

// pause waits 5 to 50 ms, so that what collided does not collide again.
func pause(ctx context.Context) {
	select {
	case <-time.After(5*time.Millisecond + rand.N(45*time.Millisecond)): //nolint:gosec // a pause is no secret
	case <-ctx.Done():
	}
}
