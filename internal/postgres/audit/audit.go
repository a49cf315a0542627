// Package audit compares the targets with the roll, user by user, and counts, names and repairs what differs. It
// hides the pages and snapshots of the comparison, and how it is found out what triggers of a table decide:
//
//	report, err := (&audit.Audit{Targets: targets}).Report(ctx, audit.Options{Repair: true})
package audit

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/settle"
)

// Audit compares the targets with the roll.
type Audit struct{ Targets *settle.Targets }

// store replaces what the last check has counted. Two that end together wait for
// each other; reading waits for neither.
func (a *Audit) store(ctx context.Context, c *Report) error {
	var target, source, state []string
	var users []int64
	for _, t := range c.Tallies {
		for _, s := range States {
			target, source = append(target, t.Target), append(source, t.Source)
			state, users = append(state, string(s)), append(users, t.Users[s])
		}
		if t.Unowned > 0 {
			target, source = append(target, t.Target), append(source, t.Source)
			state, users = append(state, unowned), append(users, t.Unowned)
		}
	}
	return a.Targets.Within(ctx, func(conn *pgx.Conn) error {
		return settle.Run(ctx, conn, slices.Concat(settle.Begin(a.Targets.Pool.Timeouts()), []settle.Step{
			{Kind: settle.Writing, SQL: "lock table rollcall.checks in share row exclusive mode"},
			{Kind: settle.Writing, SQL: "delete from rollcall.checks"},
			{Kind: settle.Writing, SQL: checkedSQL, Args: []any{target, source, state, users, c.CheckedAt}},
			settle.End(),
		}))
	})
}

// unowned is how rollcall.checks calls Tally.Unowned.
const unowned = "unowned"

// Checked is what the last audit has counted for a target, over all its sources.
type Checked struct {
	// Users has every state, 0 before the first audit.
	Users map[State]int64
	// Unowned are those of Extra that are rows of no user of the roll.
	Unowned int64
	// At is when the audit ended; zero before the first.
	At time.Time
}

// OutOfStep counts the users about which something is to be done, without the parked ones.
func (c *Checked) OutOfStep() int64 {
	return c.Users[Missing] + c.Users[Adoptable] + c.Users[Extra] - c.Unowned + c.Users[Different]
}

// Checked returns what the last audit has counted, for every configured target.
func (a *Audit) Checked(ctx context.Context) (map[string]Checked, error) {
	checked := map[string]Checked{}
	for _, t := range a.Targets.Configured() {
		checked[t.Name] = Checked{Users: noUsers()}
	}
	rows, _ := a.Targets.Pool.Query(ctx, `select target, state, pg_catalog.sum(users)::bigint, pg_catalog.max(checked_at)
from rollcall.checks group by target, state`)
	var target, state string
	var users int64
	var at time.Time
	_, err := pgx.ForEachRow(rows, []any{&target, &state, &users, &at}, func() error {
		t, configured := checked[target]
		switch {
		case !configured:
			return nil
		case state == unowned:
			t.Unowned = users
		default:
			t.Users[State(state)], t.At = users, at
		}
		checked[target] = t
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what was checked last: %w", err)
	}
	return checked, nil
}

// The statements; the files describe their parameters.
var (
	//go:embed checked.sql
	checkedSQL string
	//go:embed row_triggers.sql
	rowTriggersSQL string
	//go:embed walk.sql
	walkSQL string
)
