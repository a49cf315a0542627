package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"rollcall/internal/config"
	"rollcall/internal/must"
)

var (
	fragments  = regexp.MustCompile("(?ms)^ *```yml\n(.*?)^ *```$")
	fieldSpans = regexp.MustCompile("`((?:limits|retry|retention|sync|log|reconcile|api|database_webhook)\\.\\w+)`")
)

// Parts of a configuration, and fields that the text names, have fields that exist. Whole
// configurations are blocks yaml, which internal/app reads as serve does.
func TestFields(t *testing.T) {
	t.Parallel()
	known := map[string]string{}
	for _, f := range config.Reference() {
		known[f.Path] = f.Type
	}
	found := 0
	for file, text := range pages(t) {
		for _, block := range fragments.FindAllStringSubmatch(text, -1) {
			var values any
			err := yaml.NewDecoder(strings.NewReader(block[1]), yaml.AllowDuplicateMapKey()).Decode(&values)
			must.True(t, err == nil, "%s: %v in\n%s", file, err, block[1])
			part, isPart := values.(map[string]any)
			if !isPart { // rules for Prometheus are a list
				continue
			}
			found++
			for name, value := range part {
				for _, field := range unknown(known, sectionOf(known, name), name, value) {
					t.Errorf("%s: there is no field %s, which is in\n%s", file, field, block[1])
				}
			}
		}
		for _, span := range fieldSpans.FindAllStringSubmatch(text, -1) {
			name := strings.Split(span[1], ".")
			if _, exists := known[join(sectionOf(known, name[0]), span[1])]; !exists {
				t.Errorf("%s: there is no field %s", file, span[1])
			}
		}
	}
	must.True(t, found > 3, "found %d parts of a configuration", found)
}

func join(section, name string) string { return strings.TrimPrefix(section+"."+name, ".") }

// sectionOf is where a field stands: sources.* for signing_secrets. The shortest counts: reconcile
// is a field of a source only, database one of the file.
func sectionOf(known map[string]string, name string) string {
	var at []string
	for path := range known {
		if path == name || strings.HasSuffix(path, "."+name) {
			at = append(at, strings.TrimSuffix(strings.TrimSuffix(path, name), "."))
		}
	}
	if len(at) == 0 {
		return ""
	}
	return slices.MinFunc(at, func(a, b string) int { return len(a) - len(b) })
}

// unknown are the fields in a value that don't exist. Below names and columns everything does.
func unknown(known map[string]string, section, name string, value any) []string {
	path := join(section, name)
	kind, exists := known[path]
	switch {
	case !exists:
		return []string{path}
	case strings.Contains(kind, "column"):
		return nil
	}
	var missing []string
	inner, _ := value.(map[string]any)
	for key, below := range inner {
		if kind != "map by name" {
			missing = append(missing, unknown(known, path, key, below)...)
			continue
		}
		fields, _ := below.(map[string]any)
		for field, value := range fields {
			missing = append(missing, unknown(known, path+".*", field, value)...)
		}
	}
	return missing
}
