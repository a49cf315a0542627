package postgres

import (
	"context"
	"fmt"
	"slices"

	"rollcall/sql"
)

// settle brings users, in key order, of one target up to date with the roll, whatever was
// said about them before, and parks whom the target refuses; all in one transaction. It takes
// the table before it takes the roll: while somebody holds the table, live events about
// these users are not held up as well.
func (db *DB) settle(ctx context.Context, t *compiled, users []userKey) error {
	if _, err := db.commit(ctx, settleWork(t, users)); err != nil {
		return fmt.Errorf("settle %d users of target %s: %w", len(users), t.Name, err)
	}
	return nil
}

// span is the users of a source after one key up to another.
type span struct{ source, after, to string }

// settleSpan is settle for a span of users, whoever they are by now; it takes half the
// time. When the target refuses one of them, nothing is done and the error says so: settle
// sorts them out. A crash may undo what it has committed a moment ago.
func (db *DB) settleSpan(ctx context.Context, t *compiled, s span) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer leave(conn.Conn())
	return pipeline(ctx, conn.Conn(), db.spanSteps(t, s), &result{})
}

// spanSteps is the whole transaction, in the order of locks as everywhere.
func (db *DB) spanSteps(t *compiled, s span) []statement {
	users := []any{s.source, s.after, s.to}
	steps := []statement{{sql: sql.Begin}, {sql: sql.Settings, args: db.timeouts()}, {sql: "set local synchronous_commit = off"}}
	if t.lockable {
		steps = append(steps, statement{sql: t.lockTable()})
	}
	steps = append(steps, statement{sql: sql.SpanLock, args: users})
	if t.removal != "" {
		steps = append(steps, statement{sql: t.removalSpan, args: users})
	}
	return append(steps,
		statement{sql: t.upsertSpan, args: users},
		statement{sql: sql.SpanClear, args: append(users, t.Name)},
		statement{sql: "commit"})
}

// lockTable waits for whoever holds the table, and holds nobody up who works in it.
func (t *compiled) lockTable() string {
	return "lock table " + quoteTable(t.Table) + " in row exclusive mode"
}

// settleWork always looks for those who are gone: one may have been deleted since his key was
// read, and what is parked of him must not be forgotten without that.
func settleWork(t *compiled, users []userKey) *work {
	sources, ids := keyArrays(users)
	w := &work{users: users, held: true, departures: true, only: t}
	if t.lockable {
		w.table = t.lockTable()
	}
	w.open = append(w.open, statement{sql: sql.Lock, args: []any{sources, ids}})
	return w
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
