package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/sql"
)

const (
	// catchUpPage is how many parked users one transaction settles, as many as the largest
	// batch.
	catchUpPage = 512
	// catchUpTaken is how many are looked at together whose value somebody else has: those who
	// exchanged it must be in one transaction.
	catchUpTaken = 2048
)

// Due returns the targets, of those in service, of which a parked user is due for another
// try.
func (db *DB) Due(ctx context.Context) ([]string, error) {
	names := []string{}
	for _, t := range *db.targets.Load() {
		if t.outage == nil {
			names = append(names, t.Name)
		}
	}
	rows, _ := db.pool.Query(ctx, sql.DueTargets, names)
	due, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for parked users who are due: %w", err)
	}
	return due, nil
}

// CatchUp brings the parked users of a target who are due up to date with the roll as it is
// now, in batches, and returns how many it tried. Whom the target refuses again stays parked
// until his next try; after Config.Attempts of them he is given up. It ends early when the target
// goes out of service, and at once while another replica is at it.
func (db *DB) CatchUp(ctx context.Context, target string) (tried int, err error) {
	stages := []struct {
		query string
		page  int
	}{
		{"p.sqlstate = '" + uniqueViolation + "'", catchUpTaken},
		{"true", catchUpPage},
	}
	for _, stage := range stages {
		for {
			t := db.targetNamed(target)
			if t == nil || t.outage != nil {
				return tried, nil
			}
			users, gone, err := db.due(ctx, t, stage.query, stage.page)
			if err != nil {
				return tried, fmt.Errorf("catch up with target %s: %w", target, err)
			}
			if len(users) == 0 {
				break
			}
			w := settleWork(t, users, gone)
			w.retry = true
			_, err = db.commit(ctx, w)
			if errors.As(err, new(*outOfService)) || errors.Is(err, errOthersTurn) {
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

// errOthersTurn: another replica is settling the parked users of the target.
var errOthersTurn = errors.New("another replica is catching up")

// takeTurn keeps two replicas from trying the same users again at once. The lock ends with
// the transaction, and so with a process that is killed, and costs no connection.
func (s *separation) takeTurn(ctx context.Context) error {
	if !s.work.retry {
		return nil
	}
	var taken bool
	err := s.tx.QueryRow(ctx, "select pg_try_advisory_xact_lock($1, $2)", holdSpace, holdKey("catch up "+s.work.only.Name)).Scan(&taken)
	if err == nil && !taken {
		return errOthersTurn
	}
	return err
}

// due reads the next parked users, and whether one of them is gone, without a lock: the locks
// of the roll come before those of the parked.
func (db *DB) due(ctx context.Context, t *compiled, which string, n int) (users []userKey, gone bool, err error) {
	rows, _ := db.pool.Query(ctx, fmt.Sprintf(sql.Due, which), t.Name, n, db.parentsOf(t))
	var u userKey
	var dead bool
	_, err = pgx.ForEachRow(rows, []any{&u.source, &u.id, &dead}, func() error {
		users, gone = append(users, u), gone || dead
		return nil
	})
	return users, gone, err
}

// parentsOf are the targets whose tables a target's table references.
func (db *DB) parentsOf(t *compiled) []string {
	names := []string{}
	for _, o := range *db.targets.Load() {
		if o.oid != t.oid && slices.Contains(t.parents, o.oid) {
			names = append(names, o.Name)
		}
	}
	return names
}
