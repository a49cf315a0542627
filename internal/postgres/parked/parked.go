package settle

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/connection"
)

// execute runs a statement on a pool or a connection.
type execute func(ctx context.Context, statement string, args ...any) (pgconn.CommandTag, error)

// inParts changes the parked rows of a target, the first of the arguments, a part at a time: live events write the same
// table.
func inParts(ctx context.Context, exec execute, statement string, args ...any) (changed int64, err error) {
	for {
		tag, err := exec(ctx, statement, append(args[:1:1], append([]any{catchUpPage}, args[1:]...)...)...)
		changed += tag.RowsAffected()
		if err != nil || tag.RowsAffected() == 0 {
			return changed, err
		}
	}
}

// retryPatience is how long Retry waits for another replica that tries the same rows.
const retryPatience = 10 * time.Second

// Retry tries the parked rows of a target at once, those that were given up, too: of some ids, or of users whose
// memberships they are; nil for all. It returns how many there were. What the target refuses again stays parked.
func (ts *Targets) Retry(ctx context.Context, target string, ids []string) (tried int64, err error) {
	if tried, err = ts.MakeDue(ctx, target, ids); err != nil {
		return tried, err
	}
	for until := time.Now().Add(retryPatience); ; {
		if _, err := ts.CatchUp(ctx, target); err != nil {
			return tried, err
		}
		var left bool
		err := ts.Pool.QueryRow(ctx, "select exists ("+dueTargetsSQL+")", []string{target}).Scan(&left)
		if err != nil || !left || time.Now().After(until) || ts.inService(target) == nil {
			return tried, connection.Wrap(ts.Pool.Explain(err), "retry the parked users of target %s", target)
		}
		if err := connection.Pause(ctx, 100*time.Millisecond); err != nil { // another replica is at it
			return tried, err
		}
	}
}

// MakeDue has the jobs do what Retry does.
func (ts *Targets) MakeDue(ctx context.Context, target string, ids []string) (rows int64, err error) {
	rows, err = inParts(ctx, ts.Pool.Exec, makeDueSQL, target, ids, true)
	return rows, connection.Wrap(ts.Pool.Explain(err), "have parked rows of target %s tried again", target)
}

// GiveUp has parked rows of a target tried no more until an event or Retry says so: of some ids, or of users whose
// memberships they are; nil for all. It returns how many. It waits for rows that are being tried.
func (ts *Targets) GiveUp(ctx context.Context, target string, ids []string) (givenUp int64, err error) {
	for until := time.Now().Add(retryPatience); ; {
		var n int64
		var more bool
		if err := ts.Pool.QueryRow(ctx, giveUpSQL, target, catchUpPage, ids).Scan(&n, &more); err != nil {
			return givenUp, connection.Wrap(ts.Pool.Explain(err), "give up parked users of target %s", target)
		}
		givenUp += n
		switch {
		case !more:
			return givenUp, nil
		case n > 0:
		case time.Now().After(until):
			return givenUp, fmt.Errorf("give up parked users of target %s: others have been tried for %s; give up again", target, retryPatience)
		default:
			if err := connection.Pause(ctx, 50*time.Millisecond); err != nil {
				return givenUp, err
			}
		}
	}
}
