// Package parked tries again, or gives up, what targets have refused: rows of rollcall.parked. It hides when a row is
// due, in which batches rows are tried, and how replicas keep out of each other's way:
//
//	rows := parked.Rows{Targets: targets}
//	due, err := rows.Due(ctx)
//	tried, err := rows.CatchUp(ctx, due[0])
package parked

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/settle"
)

// Rows are the parked rows of targets.
type Rows struct{ Targets *settle.Targets }

// inService are the names of the targets that work.
func (p Rows) inService() []string {
	list := []string{}
	for _, t := range p.Targets.All() {
		if t.Outage == nil {
			list = append(list, t.Name)
		}
	}
	return list
}

// retryPatience is how long Retry waits for another transaction that holds the same rows.
const retryPatience = 10 * time.Second

// Retry tries the parked rows of a target at once, those that were given up, too: of some ids, or of users whose
// memberships they are; nil for all. It returns how many there were. What the target refuses again stays parked.
func (p Rows) Retry(ctx context.Context, target string, ids []string) (tried int64, err error) {
	if err := p.Targets.Pool.QueryRow(ctx, countSQL, target, ids).Scan(&tried); err != nil {
		return 0, connection.Wrap(p.Targets.Pool.Explain(err), "count the parked users of target %s", target)
	}
	if _, err := p.Targets.MakeDue(ctx, target, ids); err != nil {
		return tried, err
	}
	for until := time.Now().Add(retryPatience); ; {
		_, err := p.CatchUp(ctx, target)
		if err != nil && !(settle.FailedFor(err, settle.RollBusy) && time.Now().Before(until)) {
			return tried, err
		}
		var left bool
		err = p.Targets.Pool.QueryRow(ctx, "select exists ("+dueTargetsSQL+")", []string{target}).Scan(&left)
		if err != nil || !left || time.Now().After(until) || !slices.Contains(p.inService(), target) {
			return tried, connection.Wrap(p.Targets.Pool.Explain(err), "retry the parked users of target %s", target)
		}
		if err := connection.Pause(ctx, 100*time.Millisecond); err != nil { // another transaction is at it
			return tried, err
		}
	}
}

// GiveUp has parked rows of a target tried no more until an event or Retry says so: of some ids, or of users whose
// memberships they are; nil for all. It returns how many. It waits for rows that are being tried.
func (p Rows) GiveUp(ctx context.Context, target string, ids []string) (givenUp int64, err error) {
	for until := time.Now().Add(retryPatience); ; {
		var n int64
		var more bool
		if err := p.Targets.Pool.QueryRow(ctx, giveUpSQL, target, catchUpPage, ids).Scan(&n, &more); err != nil {
			return givenUp, connection.Wrap(p.Targets.Pool.Explain(err), "give up parked users of target %s", target)
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

// Count counts the parked users of each configured target.
func (p Rows) Count(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	for _, t := range p.Targets.Configured() {
		counts[t.Name] = 0
	}
	rows, _ := p.Targets.Pool.Query(ctx, "select target, pg_catalog.count(*) from rollcall.parked group by target")
	var target string
	var n int
	_, err := pgx.ForEachRow(rows, []any{&target, &n}, func() error {
		if _, configured := counts[target]; configured {
			counts[target] = n
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count parked users: %w", err)
	}
	return counts, nil
}

// The statements; the files describe their parameters.
var (
	//go:embed count.sql
	countSQL string
	//go:embed due.sql
	dueSQL string // a format of a condition on p, which is a row of rollcall.parked
	//go:embed due_targets.sql
	dueTargetsSQL string
	//go:embed give_up.sql
	giveUpSQL string
)
