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

var update = flag.Bool("update", false, "rewrite the list of packages")

const (
	page   = "design.md"
	header = "## Packages\n"
)

// The page lists each package of this module once, bottom to top: without its tests, it imports only packages that
// stand above it in the list. The order, the layers and what a package hides are the page's own.
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
		t.Fatalf("%s has no heading %q", page, header)
	}
	got, after, _ := strings.Cut(rest, "\n## ")
	packages := listPackages(t)
	want := listOf(packages, strings.Split(got, "\n"))
	for _, fault := range misplaced(packages, want) {
		t.Errorf("docs/%s: %s", page, fault)
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+header+strings.Join(want, "\n")+"\n## "+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(got, "\n"), want); diff != "" {
		t.Errorf("the packages of docs/%s are not those of the code (-page +code); go test ./docs -update lists them:\n%s", page, diff)
	}
}

// named is the package that a line of the list is about; "" for any other line.
func named(line string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(line, "- `"), "`: ")
	if !strings.HasPrefix(line, "- `"+name+"`: ") {
		return ""
	}
	return name
}

// listOf is the lines that the page should have: those that it has, without packages that are gone, and with those
// that it lacks, each below the last one it imports.
func listOf(packages map[string]listed, page []string) []string {
	missing := maps.Clone(packages)
	var lines []string
	for _, line := range page {
		name := named(line)
		if _, known := missing[name]; known || name == "" {
			lines = append(lines, line)
			delete(missing, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		last := slices.IndexFunc(lines, func(line string) bool { return named(line) != "" })
		for i, line := range lines {
			if slices.Contains(packages[name].imports, named(line)) {
				last = i
			}
		}
		lines = slices.Insert(lines, last+1, fmt.Sprintf("- `%s`: %s", name, packages[name].doc))
	}
	return lines
}

// misplaced says which packages stand above one that they import.
func misplaced(packages map[string]listed, lines []string) []string {
	var faults []string
	above := map[string]bool{}
	for _, line := range lines {
		name := named(line)
		for _, imported := range packages[name].imports {
			if !above[imported] {
				faults = append(faults, fmt.Sprintf("%s stands above %s, which it imports; put it below", name, imported))
			}
		}
		above[name] = true
	}
	return faults
}

// listed is what go list says about a package.
type listed struct {
	imports []string // of this module, by their paths in it
	doc     string   // what the first sentence of its comment says
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
				imports = append(imports, name)
			}
		}
		_, doc, _ := strings.Cut(fields[2], path.Base(fields[0])+" ") // after "Package name"
		packages[strings.TrimPrefix(fields[0], "rollcall/")] = listed{imports, doc}
	}
	return packages
}
