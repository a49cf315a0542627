//go:build unix

package terminal

import (
	"bytes"
	"os"
	"path/filepath"
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

// A terminal can't be had everywhere; ptmx is one, where there is Linux.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must.Do(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestOnlyATerminalHasColours(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	for _, name := range []string{os.DevNull, filepath.Join(t.TempDir(), "x")} {
		file := must.Get(os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600))(t)
		must.True(t, !Is(file) && !Colours(file, none), "%s is no terminal", name)
		must.Do(t, file.Close())
	}
	must.True(t, !Is(&bytes.Buffer{}), "a buffer is no terminal")
	tty := openTerminal(t)
	must.True(t, Is(tty) && Colours(tty, none), "a terminal has colours")
	for _, name := range []string{"NO_COLOR", "TERM"} {
		set := func(n string) string {
			if n == name {
				return "dumb"
			}
			return ""
		}
		must.True(t, !Colours(tty, set), "colours in spite of %s", name)
	}
}
