//go:build pgbouncer

package connection

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// A pooler that takes sessions apart is found out, however many servers it has, in
// whatever order it hands them out, and whatever else uses it.
func TestPooler(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		settings map[string]string
		refused  bool
	}{
		{"session", map[string]string{"pool_mode": "session"}, false},
		{"session, as few as there can be", map[string]string{"pool_mode": "session", "default_pool_size": "2"}, false},
		{"transaction", map[string]string{"pool_mode": "transaction"}, true},
		{"transaction, one server", map[string]string{"pool_mode": "transaction", "default_pool_size": "1"}, true},
		{"transaction, round robin", map[string]string{"pool_mode": "transaction", "server_round_robin": "1"}, true},
		{"statement", map[string]string{"pool_mode": "statement"}, true},
	}
	for _, tt := range tests {
		for _, busy := range []bool{false, true} {
			if busy && !tt.refused {
				continue // others would take the sessions that the test has counted
			}
			t.Run(tt.name+map[bool]string{true: ", busy"}[busy], func(t *testing.T) {
				t.Parallel()
				url := pgtest.Pooled(t, pgtest.New(t), tt.settings)
				if busy {
					occupy(t, url)
				}
				err := reach(t.Context(), open(t, url))
				if errors.Is(err, ErrPooler) != tt.refused || err != nil && !tt.refused {
					t.Errorf("got %v; refused should be %t", err, tt.refused)
				}
				if tt.refused && !(strings.Contains(err.Error(), "session pooler, port 5432") && strings.Contains(err.Error(), "direct connection")) {
					t.Errorf("this does not help: %v", err)
				}
			})
		}
	}
}

// occupy keeps a few other clients of a pooler busy until the test ends.
func occupy(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	t.Cleanup(func() { cancel(); working.Wait() })
	for range 5 {
		conn := must.Get(pgx.Connect(ctx, url))(t)
		working.Go(func() {
			defer func() { _ = conn.Close(context.Background()) }()
			for ctx.Err() == nil {
				_, _ = conn.PgConn().Exec(ctx, "select pg_sleep(0.001 * random())").ReadAll()
			}
		})
	}
}

// What refuses a pooler leaves nothing behind on the servers that others use through it.
func TestPoolerIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	url := pgtest.Pooled(t, pgtest.New(t), map[string]string{"pool_mode": "transaction", "default_pool_size": "1"})
	must.Fail(t, reach(t.Context(), open(t, url)), ErrPooler)
	pgtest.Connect(t, url).WantRows("select current_setting('enable_seqscan'), current_setting('TimeZone'), count(*) from pg_prepared_statements", "on|Pacific/Chatham|0")
}

// A pooler without a session left is no transaction pooler; it is said what it lacks.
func TestPoolerWithTooFewSessions(t *testing.T) {
	t.Parallel()
	url := pgtest.Pooled(t, pgtest.New(t), map[string]string{"pool_mode": "session", "default_pool_size": "1"})
	err := reach(t.Context(), open(t, url))
	if err == nil || errors.Is(err, ErrPooler) || !strings.Contains(err.Error(), "no second session") {
		t.Errorf("got %v", err)
	}
}

// What a pooler refuses itself is explained as a server's answer.
func TestPoolerRefuses(t *testing.T) {
	t.Parallel()
	url := pgtest.Pooled(t, pgtest.New(t), map[string]string{"pool_mode": "session"})
	for query, want := range map[string]string{
		"&options=-c%20work_mem=5MB": "refuses a setting of database \\(unsupported startup parameter: options\\); remove it",
		"&dbname=nowhere":            "refuses the connection of user .* to database nowhere \\(.*\\); look at its log",
	} {
		err := reach(t.Context(), open(t, url+query))
		must.Sentence(t, err, want)
	}
}
