package settle

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
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
func (ts *Targets) Due(ctx context.Context) ([]string, error) {
	rows, _ := ts.Pool.Query(ctx, dueTargetsSQL, names(ts.All(), works))
	due, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for parked users who are due: %w", err)
	}
	return due, nil
}

// CatchUp brings the parked users of a target who are due up to date with the roll as it is
// now, in batches, and returns how many it tried. A user that the target refuses again stays
// parked until the next try; after Targets.Attempts of them they are given up. It ends early when the target
// goes out of service, and at once while another replica is at it.
func (ts *Targets) CatchUp(ctx context.Context, target string) (tried int, err error) {
	stages := []struct {
		condition string // of due.sql
		page      int
	}{
		{"p.sqlstate = '" + sqlstate.UniqueViolation + "'", catchUpTaken},
		{"true", catchUpPage},
	}
	for _, stage := range stages {
		for {
			t := ts.Named(target)
			if t == nil || t.Outage != nil {
				return tried, nil
			}
			page := stage.page
			if t.Roll == &event.Memberships {
				page = catchUpMembers
			}
			users, err := ts.due(ctx, t, stage.condition, page)
			if err != nil {
				return tried, fmt.Errorf("catch up with target %s: %w", target, err)
			}
			if len(users) == 0 {
				break
			}
			w := retryWork(t, users)
			_, err = ts.Commit(ctx, w)
			if FailedFor(err, OutOfService, catchingUp) {
				return tried, nil
			}
			if err != nil {
				return tried, fmt.Errorf("catch up with target %s: %w", target, err)
			}
			tried += len(users)
		}
	}
	return tried, nil
}

// errCatchingUp: another replica is settling the parked users of the target.
var errCatchingUp = errors.New("another replica is catching up")

// catchUpLock keeps two replicas from trying the same users again at once. The lock ends with the transaction,
// and so with a process that is killed, and costs no connection.
func catchUpLock(t *catalog.Compiled) Step {
	return Step{
		Kind: lockingCatchUp, SQL: "select pg_catalog.pg_try_advisory_xact_lock($1, $2)", Args: []any{connection.LockSpace, connection.Hash32("catch up " + t.Name)},
		Read: func(rows pgx.Rows) error {
			ours, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
			if err == nil && !ours {
				err = errCatchingUp
			}
			return err
		},
	}
}

// due reads the next parked users without a lock: the locks of the roll come before those of
// the parked.
func (ts *Targets) due(ctx context.Context, t *catalog.Compiled, condition string, n int) ([]Key, error) {
	parents := names(ts.All(), func(o *catalog.Compiled) bool { return refers(t, o) })
	rows, _ := ts.Pool.Query(ctx, fmt.Sprintf(dueSQL, condition), t.Name, n, parents)
	return CollectKeys(rows, t.Roll)
}
