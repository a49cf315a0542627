package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"rollcall/internal/event"
)

// Whoever holds a lock learns that its session has ended, and others may take the lock.
func TestLockLost(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	lock, err := b.tryLock(t.Context(), "work")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lock.release)
	if _, err := b.replica().tryLock(t.Context(), "work"); !errors.Is(err, ErrRunning) {
		t.Fatalf("a second holder gets %v, want %v", err, ErrRunning)
	}
	b.exec(`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 1919904876
		and database = (select oid from pg_database where datname = current_database())`)
	err = lock.during(t.Context(), func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(soon):
			return errors.New("the context goes on")
		}
	})
	if !errors.Is(err, errLockLost) || !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("the work ends with %v, want %v", err, errLockLost)
	}
	next, err := b.replica().tryLock(t.Context(), "work")
	if err != nil {
		t.Fatal(err)
	}
	next.release()
}

// A lock that was released, or whose work ended by itself, is not lost.
func TestLockReleased(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	lock, err := b.tryLock(t.Context(), "work")
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("the work failed")
	if err := lock.during(t.Context(), func(context.Context) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("the work ends with %v, want %v", err, failed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := lock.during(ctx, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the work ends with %v, want %v", err, context.Canceled)
	}
	lock.release()
	again, err := b.tryLock(t.Context(), "work")
	if err != nil {
		t.Fatal(err)
	}
	again.release()
}
