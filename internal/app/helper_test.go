package app

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/testlog"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Wrap(m).Run()) }

// capturedSources are two sources: the first is fed by its capture alone, the second by its hook, too.
const capturedSources = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  captured: {provider: supabase}
  open: {provider: supabase, signing_secrets: ["${SUPABASE_AUTH_HOOK_SECRET}"]}
`

// readOn reads a configuration on a database.
func readOn(t *testing.T, yaml, database string) *Setup {
	t.Helper()
	s, err := Read("rollcall.yaml", []byte(yaml), func(name string) string {
		if name == "DATABASE_URL" {
			return database
		}
		return getenv(name)
	})
	must.Do(t, err)
	return s
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn := must.Get(pgx.Connect(t.Context(), url))(t)
	defer func() { _ = conn.Close(context.Background()) }()
	must.Get(conn.Exec(t.Context(), sql))(t)
}

// journal collects log lines and waits for them.
type journal struct{ testlog.Log }

// await returns the first line with a message once there is one.
func (j *journal) await(t *testing.T, message string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := j.Lines(message); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatalf("no line %q in the log:\n%s", message, j)
	return nil
}
