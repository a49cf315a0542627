package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/sql"
)

// storeCensus replaces what the last check has counted. Two that end together wait for
// each other; nobody who reads does.
func (db *DB) storeCensus(ctx context.Context, c *Census) error {
	var target, source, state []string
	var users []int64
	for _, t := range c.Tallies {
		for _, s := range States {
			target, source = append(target, t.Target), append(source, t.Source)
			state, users = append(state, string(s)), append(users, t.Users[s])
		}
	}
	return db.within(ctx, func(conn *pgx.Conn) error {
		return run(ctx, conn, slices.Concat(begin(db.pool.Timeouts()), []step{
			{kind: writing, sql: "lock table rollcall.checks in share row exclusive mode"},
			{kind: writing, sql: "delete from rollcall.checks"},
			{kind: writing, sql: sql.Checked, args: []any{target, source, state, users, c.CheckedAt}},
			end(),
		}), &result{})
	})
}

// Checked is what the last census has counted for a target, over all its sources.
type Checked struct {
	// Users has every state, 0 before the first census.
	Users map[State]int64
	// At is when the census ended; zero before the first.
	At time.Time
}

// Checked returns what the last census has counted, for every configured target.
func (db *DB) Checked(ctx context.Context) (map[string]Checked, error) {
	checked := map[string]Checked{}
	for _, t := range db.config.Targets {
		checked[t.Name] = Checked{Users: noUsers()}
	}
	rows, _ := db.pool.Query(ctx, `select target, state, pg_catalog.sum(users)::bigint, pg_catalog.max(checked_at)
from rollcall.checks group by target, state`)
	var target, state string
	var users int64
	var at time.Time
	_, err := pgx.ForEachRow(rows, []any{&target, &state, &users, &at}, func() error {
		if t, configured := checked[target]; configured {
			t.Users[State(state)], t.At = users, at
			checked[target] = t
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was checked last: %w", err)
	}
	return checked, nil
}
