package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/must"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for _, r := range unprintables() {
		if got, want := Printable("a"+string(r)+"é"), fmt.Sprintf(`a\u%04xé`, r); got != want {
			t.Errorf("%U: got %q, want %q", r, got, want)
		}
	}
	for _, text := range []string{"", "plain", "…é漢😀", `\u009b`} {
		if got := Printable(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := Printable("a\x9bb"); got != `a\x9bb` {
		t.Errorf("a byte that is no character: %q", got)
	}
}

// Lines of JSON mean the same behind the writer.
func TestPrintableTo(t *testing.T) {
	t.Parallel()
	text := "a\tb" + string(unprintables())
	var b strings.Builder
	must.Do(t, json.NewEncoder(PrintableTo(&b)).Encode(text))
	if line, ok := strings.CutSuffix(b.String(), "\n"); !ok || strings.ContainsFunc(line, Unprintable) {
		t.Errorf("the line is %q", b.String())
	}
	var back string
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back != text {
		t.Errorf("it means %q, error %v", back, err)
	}
}

// unprintables are all characters of which none may reach a terminal.
func unprintables() []rune {
	list := []rune{0x7f, 0x61c, 0x200e, 0x200f, 0x2028, 0x2029, 0xfeff}
	for _, span := range [][2]rune{{0, 0x1f}, {0x80, 0x9f}, {0x202a, 0x202e}, {0x2066, 0x2069}} {
		for r := span[0]; r <= span[1]; r++ {
			list = append(list, r)
		}
	}
	return list
}
