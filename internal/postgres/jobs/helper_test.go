package jobs

import (
	"io"
	"log/slog"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/connection"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// migrated is a fresh database with the schema rollcall.
type migrated struct {
	*pgtest.Conn
	t   testing.TB
	url string
}

func newMigrated(t testing.TB) *migrated {
	t.Helper()
	url := pgtest.New(t)
	migrate(t, url)
	return &migrated{pgtest.Connect(t, url), t, url}
}

func migrate(t testing.TB, url string) {
	t.Helper()
	db := must.Get(postgres.Open(postgres.Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	defer db.Close()
	must.Get(db.Migrate(t.Context()))(t)
}

// newReplica opens the database anew.
func newReplica(t testing.TB, url string, log io.Writer) *Replica {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(log, nil))
	pool := must.Get(connection.Open(connection.Config{URL: url, Log: logger}))(t)
	t.Cleanup(pool.Close)
	return NewReplica(pool, 0, logger)
}
