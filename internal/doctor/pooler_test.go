//go:build unix && pgbouncer

package doctor_test

import (
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// A transaction pooler is named for what it is.
func TestPooler(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.variables["DATABASE_URL"] = pgtest.Pooled(t, p.Address, map[string]string{"pool_mode": "transaction"})
	f := found(t, p.examine(), "database_pooler", "gives every transaction another connection")
	must.Equal(t, f.Place, "rollcall.yaml:1:1", "place")
	must.Contain(t, f.Remedy.Text, "database: postgres://")
}
