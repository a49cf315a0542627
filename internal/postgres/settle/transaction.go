package settle

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
)

// Work says what a transaction is for. What is sent is a list of steps, each of which says what it does.
// Targets.Steps is the whole transaction of a batch.

// Step is one statement of a transaction.
type Step struct {
	Kind  StepKind
	SQL   string
	Args  []any
	Read  func(pgx.Rows) error // nil when only success counts
	piece int                  // of a settling step: its place among the pieces
}

// StepKind says what a step is for, in the words of an error.
type StepKind string

// The kinds of steps.
const (
	Beginning      StepKind = "begin"
	lockingCatchUp StepKind = "look whether another replica is at it"
	locking        StepKind = "lock the target's table"
	Writing        StepKind = "write the roll"
	Marking        StepKind = "set a savepoint"
	settling       StepKind = "settle a target"
	restoring      StepKind = "apply the settings"
	Reading        StepKind = "read"
	Parking        StepKind = "note who is parked"
	checking       StepKind = "check deferred constraints"
	// checkingAlone is that of targets that ran one by one.
	checkingAlone StepKind = "check deferred constraints of single targets"
	Undoing       StepKind = "undo"
	ending        StepKind = "commit"
)

// Reason says why a transaction has failed, which decides what is done about it.
type Reason int

const (
	// transient: of the class sqlstate.Retry. The whole runs again.
	transient Reason = iota + 1
	// RollBusy means that another transaction of Rollcall's holds a row of the roll, which is soon over. The
	// whole runs again.
	RollBusy
	// RollRefuses means that the content of an event does not fit the roll itself.
	RollRefuses
	// Stopped means that who reads the result of a step does not want the rest.
	Stopped
	// catchingUp: another replica is settling the parked users of the target.
	catchingUp
	// OutOfService means that the table of the one target to settle cannot be had; its breaker is open.
	OutOfService
	// targetRefuses: a target refuses users, or does not answer. What was done before stands.
	targetRefuses
	// constraintRefuses: a deferred constraint holds for no order of the targets' pieces; whose fault
	// that is shows when it is checked at once.
	constraintRefuses
	// unexplained: the targets one by one may show why.
	unexplained
)

// ErrStop is wrapped by the error of a Read that ends a transaction, which leaves nothing behind. What follows the
// step in the same round trip has been sent: with it, a commit would be, too.
var ErrStop = errors.New("the transaction is not wanted")

// reasonOf is the one place that says what the failure of a step means.
func reasonOf(s *Step, err error) Reason {
	class := sqlstate.ClassOf(err)
	switch {
	case errors.Is(err, errCatchingUp):
		return catchingUp
	case errors.Is(err, ErrStop):
		return Stopped
	case s.Kind == checkingAlone: // even a passing state may be a trigger's, which asks a server that is away
		return constraintRefuses
	case class == sqlstate.Retry:
		return transient
	case s.Kind == Writing && class == sqlstate.Row:
		return RollRefuses
	case s.Kind == Writing && class == sqlstate.Lock:
		return RollBusy
	case s.Kind == locking:
		return OutOfService
	case s.Kind == settling && class != sqlstate.Server:
		return targetRefuses
	case s.Kind == checking:
		return constraintRefuses
	default:
		return unexplained
	}
}

// failure is a step that has failed.
type failure struct {
	step   Step
	reason Reason
	cause  error
}

// Error names the step, without values of a user.
func (f *failure) Error() string {
	what := map[Reason]string{
		RollRefuses: "the roll refuses a row", RollBusy: "the roll is busy",
		constraintRefuses: "a deferred constraint", OutOfService: "a target is out of service",
	}[f.reason]
	if what == "" {
		what = string(f.step.Kind)
	}
	return what + ": " + sqlstate.Text(f.cause)
}

// Unwrap keeps the cause, except of RollBusy, which says nothing about the server or a target: without
// an SQLSTATE the error counts as sqlstate.Retry, so that Commit runs the transaction again.
func (f *failure) Unwrap() error {
	if f.reason == RollBusy {
		return nil
	}
	return f.cause
}

// FailedFor reports whether a transaction has failed for a reason.
func FailedFor(err error, reasons ...Reason) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && slices.Contains(reasons, f.reason)
}

// Begin opens every transaction that writes.
func Begin(timeouts []any) []Step {
	return []Step{{Kind: Beginning, SQL: "begin isolation level read committed read write"}, Settings(timeouts)}
}

// Settings are a transaction's own, given lock_timeout and statement_timeout.
func Settings(timeouts []any) Step {
	return Step{Kind: restoring, SQL: connection.SettingsSQL, Args: timeouts}
}

// Restore gives a transaction its settings back after triggers of an application.
func Restore(timeouts []any) []Step {
	return []Step{{Kind: restoring, SQL: "reset role"}, Settings(timeouts)}
}

// constraints runs deferred triggers as the commit would, but under statement_timeout: the commit
// itself knows no timeout, so one that hangs would hang for ever, with the locks of the roll, even
// after Rollcall has gone.
func constraints() Step { return Step{Kind: checking, SQL: "set constraints all immediate"} }

// End commits.
func End() Step { return Step{Kind: ending, SQL: "commit"} }

// Run sends all steps at once and reads their results in turn. Its error is a *failure, unless the
// connection could not be had.
func Run(ctx context.Context, conn *pgx.Conn, steps []Step) error {
	batch := make(connection.Batch, len(steps))
	for i, s := range steps {
		batch[i] = connection.Statement{SQL: s.SQL, Args: s.Args}
	}
	replies := batch.Send(ctx, conn)
	for i := range steps {
		if err := readReply(replies, &steps[i]); err != nil {
			_ = replies.Close() // it repeats the error
			return &failure{steps[i], reasonOf(&steps[i], err), err}
		}
	}
	return replies.Close()
}

func readReply(replies pgx.BatchResults, s *Step) error {
	if s.Read == nil {
		tag, err := replies.Exec()
		if err == nil && s.Kind == ending && tag.String() != "COMMIT" {
			return errors.New("the server answered commit with " + tag.String())
		}
		return err
	}
	rows, err := replies.Query()
	if err != nil {
		return err
	}
	return s.Read(rows)
}

// Within runs do on a connection of the pool; a transaction that it leaves open is rolled back.
func (ts *Targets) Within(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := ts.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer Leave(conn.Conn())
	return do(conn.Conn())
}

// Leave ends a failed transaction, so that the connection can be used again. When it
// can't, the pool sees the connection's state and closes it.
func Leave(conn *pgx.Conn) {
	if conn.PgConn().TxStatus() == 'I' || conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), connection.LeaveTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback")
}
