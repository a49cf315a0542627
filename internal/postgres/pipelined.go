package postgres

import (
	"context"
	"errors"

	"rollcall/internal/postgres/sqlstate"

	"github.com/jackc/pgx/v5"
)

// pipelined runs a transaction in one round trip, and goes on piece by piece behind one that a target
// refuses. An error leaves nothing behind.
func (db *DB) pipelined(ctx context.Context, w *work, last bool) (done *result, err error) {
	err = db.within(ctx, func(conn *pgx.Conn) error {
		targets := w.among(*db.targets.Load())
		done = &result{}
		steps := db.steps(w, targets)
		if w.purpose == retryParked { // what follows must not be sent if it is another replica's turn
			opened := len(db.opening(w, db.timeoutsOf(w)))
			if err := run(ctx, conn, steps[:opened], done); err != nil {
				return err
			}
			steps = steps[opened:]
		}
		err := run(ctx, conn, steps, done)
		if failedFor(err, targetRefuses) && !conn.IsClosed() {
			s := &separation{db: db, conn: conn, work: w, targets: targets, last: last, done: *done}
			done, err = s.resume(ctx, err)
			return err
		}
		done.parked = w.usersOfOutages(targets)
		return err
	})
	return done, err
}

// resume goes on with a transaction whose pieces ran in a pipeline until one of a target's failed: what
// was done before it stays done.
func (s *separation) resume(ctx context.Context, err error) (*result, error) {
	at, _ := errors.AsType[*failure](err)
	if s.work.purpose == retryParked {
		s.mode = asking
	}
	if err := s.exec(ctx, "rollback to savepoint piece"); err != nil {
		return nil, err
	}
	s.hold()
	pieces := s.work.pieces(s.targets)[at.step.piece:]
	switch class := sqlstate.ClassOf(at.cause); class {
	case sqlstate.Row:
		pieces[0].mode = failedTogether
	case sqlstate.Lock:
		pieces[0].mode = asking
	default:
	}
	return s.finish(ctx, pieces)
}
