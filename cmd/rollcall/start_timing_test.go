//go:build timing

package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollcall/internal/cli"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// startGoal is what serve with two hundred targets may take until it is ready.
const startGoal = time.Second

// manyTargets are a hundred tables in each of two schemas, each with a target, and the configuration of all.
func manyTargets() (tables, yaml string) {
	var sql, list strings.Builder
	for _, schema := range []string{"shop", "desk"} {
		fmt.Fprintf(&sql, "create schema %s;\n", schema)
		for n := range 100 {
			fmt.Fprintf(&sql, "create table %s.t%d (id text primary key, email text, name text not null, role text not null);\n", schema, n)
			fmt.Fprintf(&list, `  %[1]s_%[2]d:
    table: %[1]s.t%[2]d
    key: id
    set: {id: new.id, email: new.email}
    on_insert: {name: "coalesce(new.full_name, '')", role: "'customer'"}
    on_delete: {email: null}
`, schema, n)
		}
	}
	return sql.String(), oneMachine + "sources: {supabase: {provider: supabase}}\ntargets:\n" + list.String()
}

// TestStartOfManyTargets holds the way from the start of the process to readiness against a goal. The
// best of five counts: other tests may run beside.
func TestStartOfManyTargets(t *testing.T) {
	tables, yaml := manyTargets()
	c := newCLI(t, yaml, pgtest.NewWith(t, tables))
	if ran := c.run(t.Context(), "migrate"); ran.code != cli.ExitFine {
		t.Fatal(ran)
	}
	build(t)
	best := time.Hour
	for range 5 {
		start := time.Now()
		p := must.Get(launch(t, c, &journal{}))(t)
		for status := 0; status != http.StatusOK && time.Since(start) < time.Minute; time.Sleep(5 * time.Millisecond) {
			status, _ = get(t, p.public+"/readyz", "")
		}
		best = min(best, time.Since(start))
		p.stop(t)
	}
	t.Logf("200 targets ready after %s", best)
	if best > startGoal {
		t.Errorf("serve is ready after %s, want %s", best, startGoal)
	}
}
