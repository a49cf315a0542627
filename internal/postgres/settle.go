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
func (db *DB) settle(ctx context.Context, t *compiled, users []userKey, departures bool) (*result, error) {
	done, err := db.commit(ctx, settleWork(t, users, departures))
	if err != nil {
		return nil, fmt.Errorf("settle %d users of target %s: %w", len(users), t.Name, err)
	}
	return done, nil
}

func settleWork(t *compiled, users []userKey, departures bool) *work {
	sources, ids := keyArrays(users)
	w := &work{users: users, held: true, departures: departures, only: t}
	if t.lockable {
		w.table = "lock table " + quoteTable(t.Table) + " in row exclusive mode"
	}
	w.open = append(w.open, statement{sql: sql.Lock, args: []any{sources, ids}})
	return w
}

// targetNamed returns a target, in service or not; nil when there is none.
func (db *DB) targetNamed(name string) *compiled {
	targets := *db.targets.Load()
	if at := slices.IndexFunc(targets, func(t *compiled) bool { return t.Name == name }); at >= 0 {
		return targets[at]
	}
	return nil
}
