package roll_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/outbox"
)

// A panic in the midst of a transaction leaves no lock and no broken connection behind.
func TestPanicInATransaction(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("user_a", 1, ""))
	for range 2 * connection.DefaultConnections {
		err := event.Safely(func() error {
			w := b.Work([]event.Event{fixture.Updated("user_a", 2, "")})
			w.Open[0].Read = func(rows pgx.Rows) error { rows.Next(); panic("a fault") }
			_, err := b.Commit(t.Context(), w)
			return err
		})
		if !errors.As(err, new(*event.PanicError)) {
			t.Fatalf("got %v", err)
		}
	}
	began := time.Now()
	b.Applies(fixture.Applied, fixture.Updated("user_a", 3, ""))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the next batch took %s", took)
	}
	b.Want("select version::text from rollcall.users", "3")
	if held := b.Pool.Stat().AcquiredConns(); held != 0 {
		t.Errorf("%d connections were not returned", held)
	}
}

// Installing a capture stops waiting for the table when its context ends.
func TestCaptureHonoursItsContext(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create schema auth; create table auth.users (id uuid primary key)")
	b.Exec("begin; lock table auth.users")
	ctx, cancel := context.WithTimeout(t.Context(), 350*time.Millisecond) // within the first pause, from 100 to 600 ms
	defer cancel()
	began := time.Now()
	if err := b.DB.Outbox().Install(ctx, outbox.Capture{Source: "supabase", Table: "auth.users"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 550*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}
