package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/outbox"
)

// A panic in the midst of a transaction leaves no lock and no broken connection behind.
func TestPanicInATransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(applied, updated("user_a", 1, ""))
	for range 2 * connection.DefaultConnections {
		err := event.Safely(func() error {
			w := b.rollWork(newBatch(users, []event.Event{updated("user_a", 2, "")}))
			w.open[0].read = func(rows pgx.Rows, _ *result) error { rows.Next(); panic("a fault") }
			_, err := b.commit(t.Context(), w)
			return err
		})
		if !errors.As(err, new(*event.PanicError)) {
			t.Fatalf("got %v", err)
		}
	}
	began := time.Now()
	b.apply(applied, updated("user_a", 3, ""))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the next batch took %s", took)
	}
	b.wantRows("select version::text from rollcall.users", "3")
	if held := b.pool.Stat().AcquiredConns(); held != 0 {
		t.Errorf("%d connections were not returned", held)
	}
}

// Installing a capture stops waiting for the table when its context ends.
func TestCaptureHonoursItsContext(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create schema auth; create table auth.users (id uuid primary key)")
	b.exec("begin; lock table auth.users")
	ctx, cancel := context.WithTimeout(t.Context(), 350*time.Millisecond) // within the first pause, from 100 to 600 ms
	defer cancel()
	began := time.Now()
	if err := b.Outbox().Install(ctx, outbox.Capture{Source: "supabase", Table: "auth.users"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 550*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}
