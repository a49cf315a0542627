package directory

import (
	"log/slog"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/connection"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench is a fresh database with the schema rollcall and a connection to look.
type bench struct {
	*Directory
	*pgtest.Conn
}

func newBench(t testing.TB, schema string) *bench {
	t.Helper()
	url := pgtest.NewMigrated(t, schema)
	pool := must.Get(connection.Open(connection.Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(pool.Close)
	return &bench{&Directory{Pool: pool, Metadata: 1 << 20}, pgtest.Connect(t, url)}
}
