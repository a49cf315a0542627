//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"rollcall/internal/pgtest/pgserver"
)

// How long the server stays without users, and how often that is looked at. Between two
// packages of one `go test` there is usually less.
const (
	linger    = 2 * time.Second
	lookEvery = 100 * time.Millisecond
)

// supervise is the life of the supervisor: it runs the shared server until nobody has
// used it for a while, or until the server or a signal ends it, and leaves
// nothing behind. It returns the exit code.
func supervise(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer cancel()
	if err := runShared(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// supervisor tells all who connect where the server is, or why there is none.
type supervisor struct {
	dir      string
	listener *net.UnixListener
	greeting string
	users    atomic.Int64
}

func runShared(ctx context.Context, dir string) error {
	handed := os.NewFile(3, "listener") // it came as descriptor 3, and must not reach postgres
	listener, err := net.FileListener(handed)
	if err := errors.Join(err, handed.Close()); err != nil {
		return err
	}
	s := &supervisor{dir: dir}
	s.listener, _ = listener.(*net.UnixListener)
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	server, err := pgserver.Start(ctx, pgserver.Options{Settings: settings()})
	if err != nil {
		return s.refuse(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-server.Exited()
		cancel()
	}()
	s.greeting = server.URL("postgres")
	for {
		s.serve(ctx)
		lock, err := pgserver.Lock(dir, syscall.LOCK_EX) // newcomers wait from here on
		if err != nil {
			return errors.Join(err, server.Close())
		}
		if ctx.Err() != nil || !s.greet(time.Millisecond) {
			return errors.Join(server.Close(), os.RemoveAll(dir))
		}
		_ = lock.Close() // one had come just before
	}
}

// refuse tells why there is no server. Who comes later tries for itself.
func (s *supervisor) refuse(why error) error {
	_, err := pgserver.Lock(s.dir, syscall.LOCK_EX) // until this process ends
	for s.greeting = why.Error(); s.greet(lookEvery); {
		continue
	}
	return errors.Join(why, err, os.RemoveAll(s.dir))
}

// serve greets who connects, until nobody has been connected for a while or the context has ended.
func (s *supervisor) serve(ctx context.Context) {
	for usedAt := time.Now(); time.Since(usedAt) < linger && ctx.Err() == nil; {
		if s.greet(lookEvery) || s.users.Load() > 0 {
			usedAt = time.Now()
		}
	}
}

// greet waits for a newcomer, and reports whether one has come.
func (s *supervisor) greet(patience time.Duration) bool {
	_ = s.listener.SetDeadline(time.Now().Add(patience))
	conn, err := s.listener.Accept()
	if err != nil {
		return false
	}
	_, _ = fmt.Fprintln(conn, s.greeting)
	s.users.Add(1)
	go func() {
		_, _ = io.Copy(io.Discard, conn) // until its process ends
		_ = conn.Close()
		s.users.Add(-1)
	}()
	return true
}
