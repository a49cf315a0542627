package terminal

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"rollcall/internal/must"
)

func TestFold(t *testing.T) {
	t.Parallel()
	words := strings.Repeat("seven77 ", 20)
	line := strings.TrimSpace(strings.Repeat("seven77 ", 10)) // 79 columns
	must.Table(t, Fold, map[string]string{
		"":                                      "",
		"a\nb\n\nc\n":                           "a b\n\nc\n",
		words:                                   line + "\n" + line + " ",
		"  -f, --flag   " + words:               "  -f, --flag   " + line[:63] + "\n" + strings.Repeat(" ", 15) + line[:63] + "\n" + strings.Repeat(" ", 15) + line[:31] + " ",
		"  of x: " + words[:80]:                 "  of x: " + line[:71] + "\n        seven77 ",
		"  a\n  b":                              "  a\n  b",
		strings.Repeat("ü", 80):                 strings.Repeat("ü", 80),
		strings.Repeat("x", 99):                 strings.Repeat("x", 99),
		"ab " + strings.Repeat("x", 99) + " cd": "ab\n" + strings.Repeat("x", 99) + "\ncd",
	})
}

func TestOnlyATerminalHasColours(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	file := must.Get(os.CreateTemp(t.TempDir(), ""))(t)
	must.True(t, !Is(file) && !Is(&bytes.Buffer{}), "a file is no terminal")
	null := must.Get(os.Open(os.DevNull))(t) // a character device, as a terminal is
	must.True(t, Is(null) && Colours(null, none), "a terminal has colours")
	for _, name := range []string{"NO_COLOR", "TERM"} {
		set := func(n string) string {
			if n == name {
				return "dumb"
			}
			return ""
		}
		must.True(t, !Colours(null, set), "colours in spite of %s", name)
	}
}
