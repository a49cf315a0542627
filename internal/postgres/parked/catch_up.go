package parked

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
)

const (
	// catchUpPage is how many parked users one transaction settles, as many as the largest
	// batch.
	catchUpPage = 512
	// catchUpTaken is how many are looked at together whose value another row has: users who
	// swapped it must be in one transaction.
	catchUpTaken = 2048
	// catchUpMembers is the most of memberships: their organisation is held meanwhile, and events about its other
	// members wait. Where all are refused, 1,500 at once take two seconds.
	catchUpMembers = 128
)

// Due returns the targets, of those in service, of which a parked user is due for another
// try.
func (p Rows) Due(ctx context.Context) ([]string, error) {
	rows, _ := p.Targets.Pool.Query(ctx, dueTargetsSQL, p.inService())
	due, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for parked users who are due: %w", err)
	}
	return due, nil
}

// CatchUp brings the parked users of a target who are due up to date with the roll as it is
// now, in batches, and returns how many it tried. A user that the target refuses again stays
// parked until the next try; after settle.Targets.Attempts of them they are given up. It ends early when the target
// goes out of service, and at once while another replica is at it.
func (p Rows) CatchUp(ctx context.Context, target string) (tried int, err error) {
	stages := []struct {
		condition string // of due.sql
		page      int
	}{
		{"p.sqlstate = '" + sqlstate.UniqueViolation + "'", catchUpTaken},
		{"true", catchUpPage},
	}
	for _, stage := range stages {
		for {
			t := p.Targets.Named(target)
			if t == nil || t.Outage != nil {
				return tried, nil
			}
			page := stage.page
			if t.Roll == &event.Memberships {
				page = catchUpMembers
			}
			users, err := p.due(ctx, t, stage.condition, page)
			if err != nil {
				return tried, fmt.Errorf("catch up with target %s: %w", target, err)
			}
			if len(users) == 0 {
				break
			}
			again, err := p.Targets.TryAgain(ctx, t, users)
			if err != nil {
				return tried, fmt.Errorf("catch up with target %s: %w", target, err)
			}
			if !again {
				return tried, nil
			}
			tried += len(users)
		}
	}
	return tried, nil
}

// due reads the next parked users without a lock: the locks of the roll come before those of
// the parked.
func (p Rows) due(ctx context.Context, t *catalog.Compiled, condition string, n int) ([]settle.Key, error) {
	parents := []string{}
	for _, o := range p.Targets.All() {
		if t.References(o) {
			parents = append(parents, o.Name)
		}
	}
	rows, _ := p.Targets.Pool.Query(ctx, fmt.Sprintf(dueSQL, condition), t.Name, n, parents)
	return settle.CollectKeys(rows, t.Roll)
}
