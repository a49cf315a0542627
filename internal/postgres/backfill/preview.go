package backfill

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/sqlstate"
)

// Preview is what a backfill that begins anew would do now, in users; users that the target
// would refuse are counted as if it didn't.
type Preview struct{ Visit, Insert, Change, Remove int64 }

// Preview computes, with the target's own expressions and in a transaction that may
// only read, what a backfill would do. An expression that fails for one user fails it as a
// whole, where a backfill would park the user.
func (b *Backfills) Preview(ctx context.Context, target string) (Preview, error) {
	var p Preview
	t := b.Targets.Named(target)
	if err := fillable(t); err != nil {
		return p, fmt.Errorf("preview of backfill %s: %w", target, err)
	}
	err := b.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, t.Compiler.Preview()).Scan(&p.Visit, &p.Insert, &p.Change, &p.Remove)
	})
	if err != nil {
		return p, fmt.Errorf("preview of backfill %s: %w", target, sqlstate.Mask(err))
	}
	return p, nil
}

// Unfilled is a target that has not followed the roll from its first user on, and has never
// been filled from it.
type Unfilled struct {
	Target string
	Users  int64 // of its sources, in the roll; counted up to a million, for serve waits for it
}

// Unfilled returns the new targets among those in service. A target whose sources have no
// users yet has nothing to be filled with: from now on everybody arrives live, and it is
// noted as filled.
func (b *Backfills) Unfilled(ctx context.Context) ([]Unfilled, error) {
	var list []Unfilled
	for _, t := range b.Targets.All() {
		if t.Outage != nil {
			continue
		}
		users, err := b.unfilled(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("look whether target %s is new: %w", t.Name, err)
		}
		if users > 0 {
			list = append(list, Unfilled{t.Name, users})
		}
	}
	return list, nil
}

// unfilled returns the users that a new target is to be filled with, 0 for any other.
func (b *Backfills) unfilled(ctx context.Context, t *catalog.Compiled) (users int64, err error) {
	var known bool
	err = b.Targets.Pool.QueryRow(ctx, "select exists (select from rollcall.backfills where target = $1)", t.Name).Scan(&known)
	if err != nil || known {
		return 0, err
	}
	if _, err := b.Targets.Pool.Exec(ctx, noneSQL, t.Name, b.Targets.Fingerprint, t.OID, t.Sources()); err != nil {
		return 0, err
	}
	err = b.Targets.Pool.QueryRow(ctx, `select pg_catalog.count(*)
from (select from rollcall.users where source = any($1) limit 1000000) u`, t.Sources()).Scan(&users)
	return users, err
}
