package settle

import (
	"context"
	"errors"

	"rollcall/internal/postgres/sqlstate"

	"github.com/jackc/pgx/v5"
)

// pipelined runs a transaction in one round trip, and goes on piece by piece behind one that a target
// refuses. An error leaves nothing behind.
func (ts *Targets) pipelined(ctx context.Context, w *Work, last bool) (parked map[Key]bool, err error) {
	err = ts.Within(ctx, func(conn *pgx.Conn) error {
		targets := w.among(ts.All())
		steps := ts.Steps(w, targets)
		if w.Purpose == retryParked { // what follows must not be sent if it is another replica's turn
			opened := len(ts.opening(w, ts.timeoutsOf(w)))
			if err := Run(ctx, conn, steps[:opened]); err != nil {
				return err
			}
			steps = steps[opened:]
		}
		err := Run(ctx, conn, steps)
		if FailedFor(err, targetRefuses) && !conn.IsClosed() {
			s := &separation{all: ts, conn: conn, work: w, targets: targets, last: last}
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
	if s.work.Purpose == retryParked {
		s.mode = Asking
	}
	if err := s.exec(ctx, "rollback to savepoint piece"); err != nil {
		return nil, err
	}
	s.hold()
	pieces := s.work.Pieces(s.targets)[at.step.piece:]
	switch class := sqlstate.ClassOf(at.cause); class {
	case sqlstate.Row:
		pieces[0].mode = failedTogether
	case sqlstate.Lock:
		pieces[0].mode = Asking
	default:
	}
	return s.finish(ctx, pieces)
}
