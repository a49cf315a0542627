package main

import (
	"errors"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rollcall/internal/pgtest"
)

// TestScripts runs the stories of the command line, testdata/script/*.txtar. Each has a
// database of its own at $DATABASE_URL and the made-up secrets of the tests.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			tb, ok := e.T().(testing.TB)
			if !ok {
				return errors.New("the stories need a testing.TB for their databases")
			}
			getenv := env(pgtest.New(tb))
			for _, name := range []string{"DATABASE_URL", "ADMIN_TOKEN", "CLERK_SECRET", "SUPABASE_SECRET", "DATABASE_SECRET"} {
				e.Setenv(name, getenv(name))
			}
			return nil
		},
	})
}
