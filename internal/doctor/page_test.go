//go:build unix

package doctor_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/doctor"
	"rollcall/internal/must"
	"rollcall/internal/target"
)

var update = flag.Bool("update", false, "rewrite the table of codes in docs/doctor.md")

const (
	page   = "../../docs/doctor.md"
	header = "| code | severity | what it means | what to do |\n|---|---|---|---|\n"
)

// The page has a row for each code, in the order of the code.
func TestPage(t *testing.T) {
	t.Parallel()
	before, rows, found := strings.Cut(string(must.Get(os.ReadFile(page))(t)), header)
	must.True(t, found, "%s has no table of codes; it begins with\n%s", page, header)
	var want strings.Builder
	for _, k := range doctor.Kinds {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", k.Code, k.Severity, k.Meaning, k.Do)
	}
	if *update {
		must.Do(t, os.WriteFile(page, []byte(before+header+want.String()), 0o644))
		return
	}
	if diff := cmp.Diff(rows, want.String()); diff != "" {
		t.Errorf("the table of codes in docs/doctor.md, rewrite it with go test ./internal/doctor -update (-page +code):\n%s", diff)
	}
}

// Every code is described, once, and is a label such as the metrics' others.
func TestKinds(t *testing.T) {
	t.Parallel()
	seen := map[target.Code]bool{}
	for _, k := range doctor.Kinds {
		must.True(t, !seen[k.Code], "%s is described twice", k.Code)
		seen[k.Code] = true
		must.True(t, regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`).MatchString(string(k.Code)), "%s is no label", k.Code)
		must.True(t, k.Meaning != "" && k.Do != "" && k.Severity != "", "%s is not described", k.Code)
	}
	for _, f := range faults {
		must.True(t, seen[target.Code(f.code)], "%s is not described", f.code)
	}
	for _, file := range []string{"../target/remedy.go", "../config/problem.go", "codes.go"} {
		for _, code := range regexp.MustCompile(`(?m)^\s+\w+\s+(?:target\.)?(?:Code )?\s*= "([a-z]+_[a-z_]+)"`).FindAllStringSubmatch(string(must.Get(os.ReadFile(file))(t)), -1) {
			must.True(t, seen[target.Code(code[1])], "%s of %s is not described", code[1], file)
		}
	}
}

// elsewhere says which codes have no fault in the list, and why.
var elsewhere = map[target.Code]string{
	"autovacuum_off": "TestServer", "connections_low": "TestServer", "database_standby": "TestServer",
	"database_encoding": "TestEncoding", "target_out_of_service": "TestOutOfService", "database_pooler": "TestPooler",
	"server_too_old":           "there is no such server",
	"target_statement_refused": "what PostgreSQL refuses in a whole statement only, its parts pass",
}

// Each code is seeded by a test.
func TestEveryKindIsSeeded(t *testing.T) {
	t.Parallel()
	for _, k := range doctor.Kinds {
		seeded := slices.ContainsFunc(faults, func(f fault) bool { return f.code == string(k.Code) })
		must.True(t, seeded != (elsewhere[k.Code] != ""), "%s is seeded in the list: %t, elsewhere: %s", k.Code, seeded, elsewhere[k.Code])
	}
}
