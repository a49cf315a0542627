package watch

import (
	"context"
	"time"

	"rollcall/internal/postgres/catalog"
)

// What the package's tests reach.

func (w *Watch) SetLateWriters(d time.Duration) { w.lateWriters = d }

func (w *Watch) Sweep(ctx context.Context, t *catalog.Compiled, since string) (int, error) {
	return w.sweep(ctx, t, since)
}
