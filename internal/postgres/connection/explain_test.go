package connection

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/internal/must"
)

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
