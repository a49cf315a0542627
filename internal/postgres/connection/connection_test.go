package connection

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func open(t *testing.T, url string) *Pool {
	t.Helper()
	p := must.Get(Open(Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(p.Close)
	return p
}

// reach makes a connection.
func reach(ctx context.Context, p *Pool) error {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return p.Explain(err)
	}
	conn.Release()
	return nil
}

// Names that are not known, and hosts that this machine has no way to.
func TestNoWay(t *testing.T) {
	t.Parallel()
	unknown := &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
	away := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	const pooler = "IPv6 only.*session pooler.*port 5432.*app.<ref>"
	for _, c := range []struct {
		host         string
		lookUp, dial error
		want         string
		not          string
	}{
		{"db.test", unknown, nil, `the name db.test is not known \(no such host\); correct the host in database`, "IPv6"},
		{"one.test,two.test", nil, refused, `no PostgreSQL answers at one.test:5432 or two.test:5432 \(connect: connection refused\)`, "IPv6"},
		{"db.abcdefghijklmnop.supabase.co", unknown, nil, pooler, "%"},
		{"db.abcdefghijklmnop.supabase.co", nil, away, pooler, "%"},
		{"db.test", nil, away, `no PostgreSQL answers at db.test:5432 \(connect: network is unreachable\)`, "IPv6"},
	} {
		cfg, _, err := poolConfig("postgres://app:hunter2secret@" + c.host + "/shop")
		must.Do(t, err)
		cfg.ConnConfig.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"2001:db8::1"}, c.lookUp }
		cfg.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, c.dial }
		pool := must.Get(pgxpool.NewWithConfig(t.Context(), cfg))(t)
		t.Cleanup(pool.Close)
		err = reach(t.Context(), &Pool{Pool: pool})
		must.Sentence(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), c.not) {
			t.Errorf("%s: %v", c.host, err)
		}
	}
}

// The holder of a lock learns that its session has ended, and others may take the lock.
func TestLockLost(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := open(t, url)
	lock := must.Get(p.TryLock(t.Context(), "work"))(t)
	t.Cleanup(lock.Release)
	must.Fail(t, must.Err(open(t, url).TryLock(t.Context(), "work")), ErrRunning)
	must.Get(p.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 1919904876
		and database = (select oid from pg_database where datname = current_database())`))(t)
	err := lock.During(t.Context(), func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Second):
			return errors.New("the context goes on")
		}
	})
	must.Fail(t, err, errLockLost)
	must.Fail(t, err, event.ErrUnavailable)
	must.Get(open(t, url).TryLock(t.Context(), "work"))(t).Release()
}

// A lock that was released, or whose work ended by itself, is not lost.
func TestLockReleased(t *testing.T) {
	t.Parallel()
	p := open(t, pgtest.New(t))
	lock := must.Get(p.TryLock(t.Context(), "work"))(t)
	failed := errors.New("the work failed")
	must.Fail(t, lock.During(t.Context(), func(context.Context) error { return failed }), failed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must.Fail(t, lock.During(ctx, func(ctx context.Context) error { return ctx.Err() }), context.Canceled)
	lock.Release()
	must.Get(p.TryLock(t.Context(), "work"))(t).Release()
}
