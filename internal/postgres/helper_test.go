package postgres_test

import (
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type bench struct{ *fixture.Bench }

func newBench(t testing.TB, targets ...target.Target) *bench {
	t.Helper()
	return &bench{fixture.NewBench(t, fixture.PTable, targets...)}
}
