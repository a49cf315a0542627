package settle

import (
	"context"
	"time"

	"rollcall/internal/postgres/catalog"
)

// What the package's tests reach.

func (ts *Targets) SetLateWriters(d time.Duration) { ts.lateWriters = d }

func (ts *Targets) Sweep(ctx context.Context, t *catalog.Compiled, since string) (int, error) {
	return ts.sweep(ctx, t, since)
}
