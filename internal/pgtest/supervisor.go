//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"rollcall/internal/pgtest/flock"
	"rollcall/internal/pgtest/pgserver"
)

// How long the server stays without users, and how often that is looked at. Between two
// packages of one `go test` there is usually less.
const (
	linger    = 2 * time.Second
	lookEvery = 100 * time.Millisecond
)

// supervise is the life of the supervisor: it runs the shared server until nobody has
// used it for a while, or until the server or somebody's signal ends it, and leaves
// nothing behind. It returns the exit code.
func supervise(dir string) int {
	// the lock of owner came as descriptor 3; it must not reach postgres
	syscall.CloseOnExec(3)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer cancel()
	if err := runShared(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		_ = os.WriteFile(filepath.Join(dir, "error"), []byte(err.Error()), 0o600)
		return 1
	}
	return 0
}

func runShared(ctx context.Context, dir string) error {
	server, err := pgserver.Start(ctx, pgserver.Options{Settings: settings()})
	if err != nil {
		return err
	}
	users, err := flock.Open(filepath.Join(dir, "users"))
	if err != nil {
		return errors.Join(err, server.Close())
	}
	defer func() { _ = users.Close() }() // not before: the lock goes with the file
	if err := announce(dir, server.URL("postgres")); err != nil {
		return errors.Join(err, server.Close())
	}
	if !awaitUnused(ctx, users, server.Exited()) {
		// it ends with users: they will notice, but none may join while we leave
		start, err := lockStart(dir)
		if err != nil {
			return errors.Join(err, server.Close())
		}
		defer func() { _ = start.Close() }()
	}
	return errors.Join(server.Close(), removeDirectory(dir))
}

// announce writes the URL in one step, so that nobody reads half of it.
func announce(dir, server string) error {
	file := filepath.Join(dir, "url")
	if err := os.WriteFile(file+".new", []byte(server), 0o600); err != nil {
		return fmt.Errorf("announce the server: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("announce the server: %w", err)
	}
	return nil
}

// awaitUnused waits until nobody has held the lock of users for a while, and returns
// true with the lock held: from then on newcomers wait until we are gone. It returns
// false when the server has ended or we are told to.
func awaitUnused(ctx context.Context, users *flock.File, exited <-chan struct{}) bool {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	usedAt := time.Now()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-exited:
			return false
		case <-tick.C:
		}
		free, err := users.TryExclusive()
		switch {
		case err != nil || !free:
			usedAt = time.Now()
		case time.Since(usedAt) >= linger:
			return true
		default:
			_ = users.Unlock() // can't fail on a lock we hold
		}
	}
}

// lockStart keeps newcomers from looking for a server until the lock is closed.
func lockStart(dir string) (*flock.File, error) {
	start, err := flock.Open(filepath.Join(dir, "start"))
	if err != nil {
		return nil, err
	}
	if err := start.Exclusive(); err != nil {
		return nil, errors.Join(err, start.Close())
	}
	return start, nil
}
