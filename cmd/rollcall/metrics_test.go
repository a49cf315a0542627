package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/must"
)

// The page for operators lists the metrics that a serve has, all of them and no others.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	_, exposed := get(t, l.admin+"/metrics", "")
	page := must.Get(os.ReadFile("../../docs/running.md"))(t)
	_, table, _ := strings.Cut(string(page), "\n## Metrics\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if diff := cmp.Diff(names(`(?m)^# TYPE (rollcall_\w+)`, exposed), names("(?m)^\\| `(rollcall_\\w+)", table)); diff != "" {
		t.Errorf("docs/running.md (-exposed +documented):\n%s", diff)
	}
}

// names are the first groups of all matches, sorted.
func names(pattern, text string) []string {
	var list []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		list = append(list, match[1])
	}
	slices.Sort(list)
	return list
}
