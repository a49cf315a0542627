package audit_test

import (
	"strings"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/audit"
)

// Ids are looked up by their beginning in the order of the primary keys: a million of them are not read or sorted.
func TestIDsByBeginning(t *testing.T) {
	t.Parallel()
	b := fixture.EmptyBench(t, fixture.BothTables, fixture.Everyone())
	must.Equal(t, len(must.Get(b.Check(t.Context()))(t)), 0, "findings")
	b.Seed(fixture.Updated("user_1", 1, "a@x.com"), fixture.Updated("user_2", 1, "b@x.com"), fixture.Updated("other", 1, "c@x.com"))
	of := audit.Beginning{Sources: []string{"app"}, ID: "user_", Limit: 50}
	must.Equal(t, must.Get(b.DB.Audit().UserIDs(t.Context(), of))(t), []string{"user_2", "user_1"}, "ids")
	of.Limit = 1
	must.Equal(t, must.Get(b.DB.Audit().UserIDs(t.Context(), of))(t), []string{"user_2"}, "ids")
	b.Exec("set enable_seqscan = off; set enable_bitmapscan = off; set plan_cache_mode = force_generic_plan")
	for _, test := range []struct{ name, statement, arguments, index string }{
		{"users", audit.UserIDsSQL, "'{app}', 'u', 50", "Index Scan Backward using users_pkey|Index Only Scan Backward using users_pkey"},
		{"parked", audit.ParkedIDsSQL, "'{app}', 'u', 50, '{profiles}'", "Index Scan Backward using parked_pkey|Index Only Scan Backward using parked_pkey"},
	} {
		b.Exec("prepare " + test.name + " as " + test.statement)
		plan := strings.Join(b.Rows("explain (costs off) execute "+test.name+" ("+test.arguments+")"), "\n")
		one, only, _ := strings.Cut(test.index, "|")
		must.True(t, strings.Contains(plan, one) || strings.Contains(plan, only), "the plan of %s is\n%s", test.name, plan)
	}
}
