package event

import "testing"

func TestMask(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"jane@example.com": "j…@e….com", "é@ü.example.org": "é…@ü….org", "j@localhost": "j…@l…", "": "", "Ada Lovelace": "A…", "@": "@",
	} {
		if got := Mask(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
