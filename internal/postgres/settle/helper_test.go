package settle_test

import (
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type bench struct{ *fixture.Bench }

func newBench(t testing.TB, schema string, targets ...target.Target) *bench {
	t.Helper()
	return &bench{fixture.NewBench(t, schema, targets...)}
}

func emptyBench(t testing.TB, schema string, targets ...target.Target) *bench {
	t.Helper()
	return &bench{fixture.EmptyBench(t, schema, targets...)}
}
