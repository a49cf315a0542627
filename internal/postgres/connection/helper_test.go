package connection

import (
	"context"
	"log/slog"
	"testing"

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
