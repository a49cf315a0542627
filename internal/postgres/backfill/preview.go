package backfill

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

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
