// Package docs compares what the documentation says about the code with the code.
package docs

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the table of packages")

const (
	page   = "design.md"
	header = "| package | hides | imports |\n|---|---|---|\n"
)

// The page lists each package once, with the packages of this module that its code, without the tests, imports.
// The order of the rows and what a package hides are the page's own.
func TestDesignListsThePackages(t *testing.T) {
	if !*update { // both write design.md
		t.Parallel()
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), header)
	if !found {
		t.Fatalf("%s has no table of packages; it begins with\n%s", page, header)
	}
	got, after, _ := strings.Cut(rest, "\n\n")
	want := tableOf(listPackages(t), strings.Split(got, "\n"))
	if *update {
		if err := os.WriteFile(page, []byte(before+header+want+"\n\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("the table of packages in docs/%s differs from the code (-page +code):\n%s\nPaste this, or run go test ./docs -update:\n%s%s",
			page, diff, header, want)
	}
}

// tableOf is the rows that the page should have: those that it has, then the packages that it lacks.
func tableOf(packages map[string]listed, page []string) string {
	var rows []string
	add := func(name, hides string) {
		if p, ok := packages[name]; ok {
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", name, hides, p.imports))
			delete(packages, name)
		}
	}
	for _, row := range page {
		if cells := strings.Split(row, " | "); len(cells) == 3 {
			add(strings.Trim(cells[0], "| `"), cells[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		add(name, packages[name].doc)
	}
	return strings.Join(rows, "\n")
}

// listed is what go list says about a package.
type listed struct {
	imports string // of this module, separated by commas
	doc     string // what the first sentence of its comment says
}

// listPackages lists the packages of this module that have more than tests, by their path in it.
func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	const format = `{{if .GoFiles}}{{.ImportPath}}{{"\t"}}{{join .Imports " "}}{{"\t"}}{{.Doc}}{{end}}`
	list := exec.CommandContext(t.Context(), "go", "list", "-buildvcs=false", "-f", format, "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]listed{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		var imports []string
		for _, imported := range strings.Fields(fields[1]) {
			if name, ours := strings.CutPrefix(imported, "rollcall/"); ours {
				imports = append(imports, strings.TrimPrefix(name, "internal/"))
			}
		}
		slices.Sort(imports)
		_, doc, _ := strings.Cut(fields[2], path.Base(fields[0])+" ") // after "Package name"
		packages[strings.TrimPrefix(fields[0], "rollcall/")] = listed{strings.Join(imports, ", "), doc}
	}
	return packages
}
