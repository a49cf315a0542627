package connection

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
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

func wantSentence(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
		t.Errorf("got error %v\nwant one that matches %s", err, want)
		return
	}
	for _, bad := range []string{"\n", "hunt", "secret", "SQLSTATE", "failed to connect"} {
		if strings.Contains(err.Error(), bad) {
			t.Errorf("%q in the error %v", bad, err)
		}
	}
}
