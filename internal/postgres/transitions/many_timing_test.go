//go:build timing

package transitions_test

import (
	"testing"

	"rollcall/internal/must"
)

// A session plans the join of old and new rows once. One that has changed a single row before is as fast with many: by a
// nested loop it would take minutes.
func TestManyRowsAfterOne(t *testing.T) {
	b := newBench(t)
	c := must.Get(b.DB.Pool().Acquire(t.Context()))(t)
	defer c.Release()
	exec := func(sql string) {
		t.Helper()
		must.Get(c.Exec(t.Context(), sql))(t)
	}
	exec("set statement_timeout = '20s'")
	for roll, insert := range map[string]string{
		"users":       "insert into rollcall.users (source, id, email) select 'clerk', 'user_' || i, 'a' from generate_series(1, 50000) i",
		"memberships": "insert into rollcall.memberships (source, id, role) select 'clerk', 'member_' || i, 'a' from generate_series(1, 50000) i",
	} {
		column := map[string]string{"users": "email", "memberships": "role"}[roll]
		exec(insert)
		exec("update rollcall." + roll + " set " + column + " = 'b' where id like '%\\_1'")
		exec("update rollcall." + roll + " set " + column + " = 'c'")
	}
	b.Want("select type || ' ' || count(*) from rollcall.transitions group by type order by type", "email_changed 50001", "role_changed 50001")
}
