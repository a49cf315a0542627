package connection

import (
	"context"
	"errors"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// The holder of a lock learns that its session has ended, and others may take the lock.
func TestLockLost(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := open(t, url)
	lock := must.Get(p.TryLock(t.Context(), "work"))(t)
	t.Cleanup(lock.Release)
	if _, err := open(t, url).TryLock(t.Context(), "work"); !errors.Is(err, ErrRunning) {
		t.Fatalf("a second holder gets %v, want %v", err, ErrRunning)
	}
	_, err := p.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 1919904876
		and database = (select oid from pg_database where datname = current_database())`)
	must.Do(t, err)
	err = lock.During(t.Context(), func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Second):
			return errors.New("the context goes on")
		}
	})
	if !errors.Is(err, errLockLost) || !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("the work ends with %v, want %v", err, errLockLost)
	}
	next := must.Get(open(t, url).TryLock(t.Context(), "work"))(t)
	next.Release()
}

// A lock that was released, or whose work ended by itself, is not lost.
func TestLockReleased(t *testing.T) {
	t.Parallel()
	p := open(t, pgtest.New(t))
	lock := must.Get(p.TryLock(t.Context(), "work"))(t)
	failed := errors.New("the work failed")
	if err := lock.During(t.Context(), func(context.Context) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("the work ends with %v, want %v", err, failed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := lock.During(ctx, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the work ends with %v, want %v", err, context.Canceled)
	}
	lock.Release()
	again := must.Get(p.TryLock(t.Context(), "work"))(t)
	again.Release()
}
