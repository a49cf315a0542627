package settle

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/connection"
)

// execute runs a statement on a pool or a connection.
type execute func(ctx context.Context, statement string, args ...any) (pgconn.CommandTag, error)

// changedAtOnce is how many parked rows one statement changes.
const changedAtOnce = 512

// inParts changes the parked rows of a target, the first of the arguments, a part at a time: live events write the same
// table.
func inParts(ctx context.Context, exec execute, statement string, args ...any) (changed int64, err error) {
	for {
		tag, err := exec(ctx, statement, append(args[:1:1], append([]any{changedAtOnce}, args[1:]...)...)...)
		changed += tag.RowsAffected()
		if err != nil || tag.RowsAffected() == 0 {
			return changed, err
		}
	}
}

// MakeDue has the jobs try parked rows of a target at once, those that were given up, too: of some ids, or of users whose
// memberships they are; nil for all. It returns how many there were.
func (ts *Targets) MakeDue(ctx context.Context, target string, ids []string) (rows int64, err error) {
	rows, err = inParts(ctx, ts.Pool.Exec, makeDueSQL, target, ids, true)
	return rows, connection.Wrap(ts.Pool.Explain(err), "have parked rows of target %s tried again", target)
}
