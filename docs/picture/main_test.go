//go:build unix

package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/must"
)

// durations differ from run to run, and so do the widths of what follows them.
var durations = regexp.MustCompile(`x="[0-9.]+"|textLength="[0-9.]+"|in [0-9]+\.[0-9] ms`)

// The picture of the README is what the demo prints.
func TestPicture(t *testing.T) {
	t.Parallel()
	shown := string(must.Get(os.ReadFile("../demo.svg"))(t))
	printed := must.Get(draw(t.Context()))(t)
	if diff := cmp.Diff(durations.ReplaceAllString(shown, ""), durations.ReplaceAllString(printed, "")); diff != "" {
		t.Errorf("docs/demo.svg is not what the demo prints; draw it anew with go run ./docs/picture (-picture +demo):\n%s", diff)
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	long := "    insert into auth.users values ('5a3f1e00-0000-4000-8000-000000000b01', 'ben@example.com', '{\"first_name\": \"Ben\"}')"
	got := wrap(plain(long, "dim"))
	want := []string{
		"    insert into auth.users values ('5a3f1e00-0000-4000-8000-000000000b01', 'ben@example.com',",
		"    '{\"first_name\": \"Ben\"}')",
	}
	must.Equal(t, []string{got[0].String(), got[1].String()}, want, "lines")
	must.Equal(t, len(wrap(plain(regexp.MustCompile(`.`).ReplaceAllString(long+long, "x"), ""))), 3, "lines of one long word")
}

func TestParse(t *testing.T) {
	t.Parallel()
	lines := parse("a\x1b[32mb\x1b[0mc\n\n")
	want := line{{'a', ""}, {'b', "green"}, {'c', ""}}
	must.True(t, len(lines) == 2 && slices.Equal(lines[0], want) && lines[1] == nil, "got %v, want %v and an empty line", lines, want)
}
