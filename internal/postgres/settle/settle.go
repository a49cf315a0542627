package settle

import (
	"context"
	"fmt"

	"rollcall/internal/postgres/catalog"

	"github.com/jackc/pgx/v5"
)

// Settle brings users, in key order, of one target up to date with the roll, whatever was
// said about them before, and parks those that the target refuses; all in one transaction. It takes
// the table before it takes the roll: while another session holds the table, live events about
// these users are not held up as well.
func (ts *Targets) Settle(ctx context.Context, t *catalog.Compiled, users []Key) error {
	if _, err := ts.Commit(ctx, SettleWork(t, users)); err != nil {
		return fmt.Errorf("settle %d users of target %s: %w", len(users), t.Name, err)
	}
	return nil
}

// Span is the users of a source after one key up to another.
type Span struct{ Source, After, To string }

// SettleSpan is settle for all users of a span at that time; it takes half the
// time. When the target refuses one of them, nothing is done and the error says so: settle
// sorts them out. A crash may undo what it has committed a moment ago.
func (ts *Targets) SettleSpan(ctx context.Context, t *catalog.Compiled, s Span) error {
	return ts.Within(ctx, func(conn *pgx.Conn) error { return Run(ctx, conn, ts.SpanSteps(t, s)) })
}

// SpanSteps is the whole transaction, in the order of locks as everywhere.
func (ts *Targets) SpanSteps(t *catalog.Compiled, s Span) []Step {
	users := []any{s.Source, s.After, s.To}
	steps := append(Begin(ts.Pool.Timeouts()), Step{Kind: restoring, SQL: "set local synchronous_commit = off"})
	if t.Lockable {
		steps = append(steps, Step{Kind: locking, SQL: t.LockTable()})
	}
	steps = append(steps, Step{Kind: Writing, SQL: spanLockSQL, Args: users})
	if t.Removal != "" {
		steps = append(steps, Step{Kind: settling, SQL: t.RemovalSpan, Args: users})
	}
	return append(steps,
		Step{Kind: settling, SQL: t.UpsertSpan, Args: users},
		Step{Kind: Parking, SQL: spanClearSQL, Args: append(users, t.Name)},
		constraints(), End())
}
