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
		must.Equal(t, Printable("a"+string(r)+"é"), fmt.Sprintf(`a\u%04xé`, r), fmt.Sprintf("%U", r))
	}
	must.Table(t, Printable, map[string]string{
		"": "", "plain": "plain", "…é漢😀": "…é漢😀", `\u009b`: `\u009b`,
		"a\x9bb": `a\x9bb`, // a byte that is no character
	})
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
	must.Do(t, json.Unmarshal([]byte(b.String()), &back))
	must.Equal(t, back, text, "what it means")
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

func TestMask(t *testing.T) {
	t.Parallel()
	must.Table(t, Mask, map[string]string{
		"jane@example.com": "j…@e….com", "é@ü.example.org": "é…@ü….org", "j@localhost": "j…@l…", "": "", "Ada Lovelace": "A…", "@": "@",
	})
}

func TestMaskJSON(t *testing.T) {
	t.Parallel()
	must.Table(t, func(value string) string { return string(MaskJSON(json.RawMessage(value))) }, map[string]string{
		`"ann@example.com"`: `"a…@e….com"`, "null": "null", "true": "true", "17": `"…"`, `{"a":1}`: `"7 bytes"`, `[1]`: `"3 bytes"`, "": "", `""`: `""`,
	})
}
