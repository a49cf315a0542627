package postgres

import (
	"context"
	"fmt"
	"slices"

	"rollcall/internal/target"
	"rollcall/sql"

	"github.com/jackc/pgx/v5"
)

// settle brings users, in key order, of one target up to date with the roll, whatever was
// said about them before, and parks those that the target refuses; all in one transaction. It takes
// the table before it takes the roll: while another session holds the table, live events about
// these users are not held up as well.
func (db *DB) settle(ctx context.Context, t *compiled, users []userKey) error {
	if _, err := db.commit(ctx, settleWork(t, users)); err != nil {
		return fmt.Errorf("settle %d users of target %s: %w", len(users), t.Name, err)
	}
	return nil
}

// span is the users of a source after one key up to another.
type span struct{ source, after, to string }

// settleSpan is settle for all users of a span at that time; it takes half the
// time. When the target refuses one of them, nothing is done and the error says so: settle
// sorts them out. A crash may undo what it has committed a moment ago.
func (db *DB) settleSpan(ctx context.Context, t *compiled, s span) error {
	return db.within(ctx, func(conn *pgx.Conn) error { return run(ctx, conn, db.spanSteps(t, s), &result{}) })
}

// spanSteps is the whole transaction, in the order of locks as everywhere.
func (db *DB) spanSteps(t *compiled, s span) []step {
	users := []any{s.source, s.after, s.to}
	steps := append(begin(db.pool.Timeouts()), step{kind: restoring, sql: "set local synchronous_commit = off"})
	if t.lockable {
		steps = append(steps, step{kind: locking, sql: t.lockTable()})
	}
	steps = append(steps, step{kind: writing, sql: sql.SpanLock, args: users})
	if t.Removal != "" {
		steps = append(steps, step{kind: settling, sql: t.RemovalSpan, args: users})
	}
	return append(steps,
		step{kind: settling, sql: t.UpsertSpan, args: users},
		step{kind: parking, sql: sql.SpanClear, args: append(users, t.Name)},
		constraints(), end())
}

// lockTable waits for an exclusive lock on the table, and does not hold up who reads or writes it.
func (t *compiled) lockTable() string {
	return "lock table " + target.QuoteTable(t.Table) + " in row exclusive mode"
}

// newest is a target as it was compiled last: its table may have changed since t was. One that is
// out of service now is no better.
func (db *DB) newest(t *compiled) *compiled {
	if t == nil {
		return nil
	}
	if now := db.inService(t.Name); now != nil {
		return now
	}
	return t
}

// targetNamed returns a target, in service or not; nil when there is none.
func (db *DB) targetNamed(name string) *compiled {
	targets := *db.targets.Load()
	if at := slices.IndexFunc(targets, func(t *compiled) bool { return t.Name == name }); at >= 0 {
		return targets[at]
	}
	return nil
}
