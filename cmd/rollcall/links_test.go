package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"rollcall/internal/must"
)

// What serves tests, and what downloads a PostgreSQL for them, is not part of the program.
func TestProgramLinksNothingOfTests(t *testing.T) {
	t.Parallel()
	out := must.Get(exec.CommandContext(t.Context(), "go", "list", "-buildvcs=false", "-deps", ".").Output())(t)
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, "rollcall/internal/pgtest/pgserver") {
		t.Fatalf("the list of %d packages lacks one that is linked", len(linked))
	}
	for _, p := range linked {
		for _, unwanted := range []string{"testing", "rollcall/internal/testtag", "github.com/fergusstrange/embedded-postgres", "github.com/lib/pq", "github.com/xi2/xz"} {
			if p == unwanted || strings.HasPrefix(p, unwanted+"/") {
				t.Errorf("the program links %s", p)
			}
		}
	}
}
