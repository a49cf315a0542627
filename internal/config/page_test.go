package config

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	pageTemplate = "testdata/configuration.md.tmpl"
	page         = "../../docs/configuration.md"
)

// The page about the configuration is made from the types that the decoder reads; the
// prose between the tables stands in the template.
func TestConfigurationPage(t *testing.T) {
	t.Parallel()
	got := renderPage(t)
	if *update {
		must.Do(t, os.WriteFile(page, []byte(got), 0o644))
	}
	want := must.Get(os.ReadFile(page))(t)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/configuration.md is not what the types say; rewrite it with go test ./internal/config -run %s -update (-want +got):\n%s", t.Name(), diff)
	}
}

// renderPage fills the template. Every section of the configuration must stand in it once.
func renderPage(t *testing.T) string {
	t.Helper()
	sections := map[string][]Field{}
	for _, f := range Reference() {
		sections[parentOf(f.Path)] = append(sections[parentOf(f.Path)], f)
	}
	functions := template.FuncMap{"fields": func(section string) (string, error) {
		list, ok := sections[section]
		if !ok {
			return "", fmt.Errorf("there is no section %q, or it stands here twice", section)
		}
		delete(sections, section)
		return fieldTable(list), nil
	}}
	tmpl := must.Get(template.New(filepath.Base(pageTemplate)).Funcs(functions).ParseFiles(pageTemplate))(t)
	var out strings.Builder
	must.Do(t, tmpl.Execute(&out, nil))
	must.True(t, len(sections) == 0, "%s leaves out %q", pageTemplate, slices.Sorted(maps.Keys(sections)))
	return out.String()
}

// parentOf is the section that a field stands in: "sources.*" for sources.*.provider.
func parentOf(path string) string {
	i := strings.LastIndexByte(path, '.')
	return path[:max(i, 0)]
}

// fieldTable is a section as a table. Whose fields belong to one provider only is said
// in front of what they mean.
func fieldTable(list []Field) string {
	var out strings.Builder
	out.WriteString("| field | what to write | default | meaning |\n|---|---|---|---|\n")
	for _, f := range list {
		name, doc := f.Path[strings.LastIndexByte(f.Path, '.')+1:], f.Doc
		if f.Only != "" {
			doc = strings.ToUpper(f.Only[:1]) + f.Only[1:] + " only: " + doc
		}
		fallback := ""
		if f.Required {
			fallback = "**required**"
		} else if f.Default != "" {
			fallback = "`" + f.Default + "`"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", name, plainCell(f.Type), fallback, plainCell(doc))
	}
	return out.String()
}

// plainCell keeps Markdown from taking a text apart.
func plainCell(text string) string {
	return strings.NewReplacer("|", `\|`, "*", `\*`, "<", "&lt;").Replace(text)
}

// The page about targets has the record new as the roll has it: names, types and order.
func TestTargetsPageListsTheRecord(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(string(must.Get(os.ReadFile("../../docs/targets.md"))(t)), "## The record `new`")
	section, _, _ = strings.Cut(section, "\n## ")
	want := []string{"`source` | text", "`id` | text"}
	for _, f := range event.Users.Fields {
		want = append(want, fmt.Sprintf("`%s` | %s", f.Name, f.Type))
	}
	want = append(want, "`deleted_at` | timestamptz")
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`\\w+` \\| \\w+)").FindAllStringSubmatch(section, -1) {
		got = append(got, row[1])
	}
	must.Equal(t, got, want, "columns of new on the page")
}
