package settle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/sqlstate"
)

// Commit runs a transaction: in one round trip, which goes on by itself behind a piece that a target
// refuses, or piece by piece where it can't. What fails for a passing reason (a deadlock, a lost
// connection) is tried three times. Even such a reason, or one of the server's, may come from one
// target's trigger, for instance when another server, which the trigger asks, is away: then the last try
// finds out.
func (ts *Targets) Commit(ctx context.Context, w *Work) (parked map[Key]bool, err error) {
	if ts.dry != nil {
		return ts.dry.commit(ctx, ts, w)
	}
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
		if FailedFor(err, constraintRefuses) { // it failed when the targets ran one by one: now each row is checked at once
			parked, err = ts.isolated(ctx, w, err, last)
		}
		if err == nil {
			return parked, nil
		}
		ts.tripTable(w, err)
		err = sqlstate.Mask(err)
		if sqlstate.ClassOf(err) != sqlstate.Retry || FailedFor(err, catchingUp, OutOfService, Stopped) || last || ctx.Err() != nil {
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
	if ok && FailedFor(err, OutOfService) {
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

// pipelined runs a transaction in one round trip, and goes on piece by piece behind one that a target
// refuses. An error leaves nothing behind.
func (ts *Targets) pipelined(ctx context.Context, w *Work, last bool) (parked map[Key]bool, err error) {
	err = ts.Within(ctx, func(conn *pgx.Conn) error {
		targets := w.among(ts.All())
		steps := ts.Steps(w, targets)
		switch {
		case w.Purpose == retryParked: // what follows must not be sent if it is another replica's turn
			opened := len(ts.opening(w, ts.timeoutsOf(w)))
			if err := Run(ctx, conn, steps[:opened]); err != nil {
				return err
			}
			steps = steps[opened:]
		case w.Found != nil:
			closing := ts.closing(w, targets)
			if err := Run(ctx, conn, steps[:len(steps)-len(closing)]); err != nil {
				return err
			}
			w = w.withFound()
			steps = ts.closing(w, targets)
		}
		err := Run(ctx, conn, steps)
		if FailedFor(err, targetRefuses) && !conn.IsClosed() {
			s := &separation{all: ts, conn: conn, work: w, targets: targets, mode: w.mode(), last: last}
			parked, err = s.resume(ctx, err)
			return err
		}
		parked = w.usersOfOutages(targets)
		return err
	})
	return parked, err
}

// resume goes on with a transaction whose pieces ran in a pipeline until one of a target's failed: what
// was done before it stays done.
func (s *separation) resume(ctx context.Context, err error) (map[Key]bool, error) {
	at, _ := errors.AsType[*failure](err)
	if err := s.exec(ctx, "rollback to savepoint piece"); err != nil {
		return nil, err
	}
	s.hold()
	pieces := s.work.Pieces(s.targets)[at.step.piece:]
	switch class := sqlstate.ClassOf(at.cause); class {
	case sqlstate.Row:
		pieces[0].mode = failedPipelined
	case sqlstate.Lock:
		pieces[0].mode = Asking
	default:
	}
	return s.finish(ctx, pieces)
}

// Settle brings users, in key order, of one target up to date with the roll, whatever was
// said about them before, and parks those that the target refuses; all in one transaction. It takes
// the table before it takes the roll: while another session holds the table, live events about
// these users are not held up as well. Nothing new is known about the users: the tries of those who stay parked do not
// begin anew, and those who were given up stay so.
func (ts *Targets) Settle(ctx context.Context, t *catalog.Compiled, users []Key) error {
	w := SettleWork(t, users)
	w.Purpose = settleAgain
	if _, err := ts.Commit(ctx, w); err != nil {
		return fmt.Errorf("settle %d users of target %s: %w", len(users), t.Name, err)
	}
	return nil
}

// Span is the users of a source after one key up to another.
type Span struct{ Source, After, To string }

// SettleSpan is Settle for all users of a span at that time; it takes half the
// time. When the target refuses one of them, nothing is done and the error says so: settle
// sorts them out. A crash may undo what it has committed a moment ago.
func (ts *Targets) SettleSpan(ctx context.Context, t *catalog.Compiled, s Span) error {
	return ts.Within(ctx, func(conn *pgx.Conn) error { return Run(ctx, conn, ts.SpanSteps(t, s, t.UpsertSpan)) })
}

// FillSpan is SettleSpan for a target that has none of the users: it fails where it has one.
func (ts *Targets) FillSpan(ctx context.Context, t *catalog.Compiled, s Span) error {
	return ts.Within(ctx, func(conn *pgx.Conn) error { return Run(ctx, conn, ts.SpanSteps(t, s, t.InsertSpan)) })
}

// SpanSteps is the whole transaction, in the order of locks as everywhere, with one of the two statements.
func (ts *Targets) SpanSteps(t *catalog.Compiled, s Span, write string) []Step {
	users := s.args()
	steps := append(Begin(ts.Pool.Timeouts()), withoutSync)
	if t.Lockable {
		steps = append(steps, Step{Kind: locking, SQL: t.LockTable()})
	}
	steps = append(steps, Step{Kind: Writing, SQL: On(t.Roll, spanLockSQL), Args: users})
	if t.Removal != "" {
		steps = append(steps, Step{Kind: settling, SQL: t.RemovalSpan, Args: users})
	}
	if t.AdoptionSpan != "" {
		steps = append(steps, Step{Kind: settling, SQL: t.AdoptionSpan, Args: users})
	}
	return append(steps,
		Step{Kind: settling, SQL: write, Args: users},
		Step{Kind: Parking, SQL: On(t.Roll, spanClearSQL), Args: append(users, t.Name)},
		constraints(), End())
}

// CommitSpan settles those users of a span that the opening has written into the roll, in every target that follows
// the source. It parks nobody: it fails where a target refuses one of them, or is out of service. All is sent at once,
// so that an error of a Read does not keep it from committing.
func (ts *Targets) CommitSpan(ctx context.Context, s Span, open []Step) error {
	var targets []*catalog.Compiled
	for _, t := range ts.All() {
		if t.Roll != &event.Users || !t.Follows(s.Source) {
			continue
		}
		if t.Outage != nil {
			return fmt.Errorf("target %s is out of service", t.Name)
		}
		targets = append(targets, t)
	}
	steps := slices.Concat(Begin(ts.Pool.Timeouts()), []Step{withoutSync}, open)
	for _, t := range slices.Backward(targets) {
		if t.Where != nil && t.RemovalSpan != "" {
			steps = append(steps, ts.spanStep(t, s, t.RemovalSpan)...)
		}
	}
	for _, t := range targets {
		if t.AdoptionSpan != "" {
			steps = append(steps, ts.spanStep(t, s, t.AdoptionSpan)...)
		}
	}
	for _, t := range targets {
		steps = append(steps, ts.spanStep(t, s, t.UpsertSpan)...)
	}
	for _, t := range targets {
		steps = append(steps, Step{Kind: Parking, SQL: spanClearSQL, Args: append(s.args(), t.Name)})
	}
	steps = append(steps, constraints(), End())
	return ts.Within(ctx, func(conn *pgx.Conn) error { return Run(ctx, conn, steps) })
}

// spanStep is a statement of a target for a span. The application's triggers may have changed the settings.
func (ts *Targets) spanStep(t *catalog.Compiled, s Span, statement string) []Step {
	steps := []Step{{Kind: settling, SQL: statement, Args: s.args()}}
	if t.Triggers {
		steps = append(append(steps, Restore(ts.Pool.Timeouts())...), withoutSync)
	}
	return steps
}

// withoutSync lets a commit that may be lost in a crash go on without the disk.
var withoutSync = Step{Kind: restoring, SQL: "set local synchronous_commit = off"}

func (s Span) args() []any { return []any{s.Source, s.After, s.To} }
