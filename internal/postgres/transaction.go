package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/sql"
)

// A transaction is a value: a list of steps, each of which says what it is for. DB.steps is the whole
// transaction of a batch.

// step is one statement of a transaction.
type step struct {
	kind  stepKind
	sql   string
	args  []any
	read  func(pgx.Rows, *result) error // nil when only success counts
	piece int                           // of a settling step: its place among the pieces
}

// stepKind says what a step is for, in the words of an error.
type stepKind string

const (
	beginning  stepKind = "begin"
	takingTurn stepKind = "look whether another replica is at it"
	locking    stepKind = "lock the target's table"
	writing    stepKind = "write the roll"
	marking    stepKind = "set a savepoint"
	settling   stepKind = "settle a target"
	restoring  stepKind = "restore the settings"
	reading    stepKind = "read"
	parking    stepKind = "note who is parked"
	checking   stepKind = "check deferred constraints"
	// checkingAlone is that of targets that ran one by one.
	checkingAlone stepKind = "check deferred constraints of single targets"
	undoing       stepKind = "undo"
	ending        stepKind = "commit"
)

// reason says why a transaction has failed, which decides what is done about it.
type reason int

const (
	// transient: a deadlock, a lost connection, a server that goes away. The whole runs again.
	transient reason = iota + 1
	// rollBusy: another transaction of Rollcall's holds a row of the roll, which is soon over. The
	// whole runs again.
	rollBusy
	// rollRefuses: the content of an event does not fit the roll itself.
	rollRefuses
	// othersTurn: another replica is settling the parked users of the target.
	othersTurn
	// outOfService: the table of the one target to settle can't be had; its breaker is open.
	outOfService
	// targetRefuses: a target refuses users, or does not answer. What was done before stands.
	targetRefuses
	// constraintRefuses: a deferred constraint holds for no order of the targets' pieces; whose fault
	// that is shows when it is checked at once.
	constraintRefuses
	// unexplained: the targets one by one may show why.
	unexplained
)

// reasonOf is the one place that says what the failure of a step means.
func reasonOf(s *step, err error) reason {
	class := sqlstate.ClassOf(err)
	switch {
	case errors.Is(err, errOthersTurn):
		return othersTurn
	case s.kind == checkingAlone: // even a passing state may be a trigger's, which asks a server that is away
		return constraintRefuses
	case class == sqlstate.Retry:
		return transient
	case s.kind == writing && class == sqlstate.Row:
		return rollRefuses
	case s.kind == writing && class == sqlstate.Lock:
		return rollBusy
	case s.kind == locking:
		return outOfService
	case s.kind == settling && class != sqlstate.Server:
		return targetRefuses
	case s.kind == checking:
		return constraintRefuses
	default:
		return unexplained
	}
}

// failure is a step that has failed.
type failure struct {
	step   step
	reason reason
	cause  error
}

// Error names the step, without values of a user.
func (f *failure) Error() string {
	what := map[reason]string{
		rollRefuses: "the roll refuses a row", rollBusy: "the roll is busy",
		constraintRefuses: "a deferred constraint", outOfService: "a target is out of service",
	}[f.reason]
	if what == "" {
		what = string(f.step.kind)
	}
	return what + ": " + sqlstate.Text(f.cause)
}

// Unwrap keeps the cause, except where it is no matter of the caller's.
func (f *failure) Unwrap() error {
	if f.reason == rollBusy {
		return nil
	}
	return f.cause
}

// failedFor reports whether a transaction has failed for a reason.
func failedFor(err error, reasons ...reason) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && slices.Contains(reasons, f.reason)
}

// begin opens every transaction that writes.
func begin(timeouts []any) []step {
	return []step{{kind: beginning, sql: "begin isolation level read committed read write"}, settings(timeouts)}
}

// settings are a transaction's own, given lock_timeout and statement_timeout.
func settings(timeouts []any) step { return step{kind: restoring, sql: sql.Settings, args: timeouts} }

// restore gives a transaction its settings back after triggers of an application.
func restore(timeouts []any) []step {
	return []step{{kind: restoring, sql: "reset role"}, settings(timeouts)}
}

// constraints runs deferred triggers as the commit would, but under statement_timeout: the commit
// itself knows no timeout, so one that hangs would hang for ever, with the locks of the roll, even
// after Rollcall has gone.
func constraints() step { return step{kind: checking, sql: "set constraints all immediate"} }

// end commits.
func end() step { return step{kind: ending, sql: "commit"} }

// run sends all steps at once and reads their results in turn. Its error is a *failure, unless the
// connection could not be had.
func run(ctx context.Context, conn *pgx.Conn, steps []step, done *result) error {
	var queue pgx.Batch
	for _, s := range steps {
		queue.Queue(s.sql, s.args...)
	}
	replies := conn.SendBatch(ctx, &queue)
	for i := range steps {
		if err := readReply(replies, &steps[i], done); err != nil {
			_ = replies.Close() // it repeats the error
			return &failure{steps[i], reasonOf(&steps[i], err), err}
		}
	}
	return replies.Close()
}

func readReply(replies pgx.BatchResults, s *step, done *result) error {
	if s.read == nil {
		tag, err := replies.Exec()
		if err == nil && s.kind == ending && tag.String() != "COMMIT" {
			return errors.New("the server answered commit with " + tag.String())
		}
		return err
	}
	rows, err := replies.Query()
	if err != nil {
		return err
	}
	return s.read(rows, done)
}

// within runs do on a connection of the pool; a transaction that it leaves open is rolled back.
func (db *DB) within(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer leave(conn.Conn())
	return do(conn.Conn())
}

// leave ends a failed transaction, so that the connection can be used again. When it
// can't, the pool sees the connection's state and closes it.
func leave(conn *pgx.Conn) {
	if conn.PgConn().TxStatus() == 'I' || conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback")
}
