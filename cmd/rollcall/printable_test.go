package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/source"
)

// What a provider or a stranger sends can't act on the terminal of whoever reads the log.
func TestLogIsPrintable(t *testing.T) {
	t.Parallel()
	in, _ := startShop(t)
	hostile := "u\u009b31m\u202ex\u2066\ufeff\u007f"
	in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", hostile)))
	in.log.await(t, "webhook", 1)
	if got := in.log.Lines("webhook")[0]["user"]; got != hostile {
		t.Errorf("the user is %q in the log", got)
	}
	if said := strings.ReplaceAll(in.log.String(), "\n", ""); strings.ContainsFunc(said, event.Unprintable) {
		t.Errorf("the log says %q", said)
	}
}

// The same holds for what commands print, as text and as JSON.
func TestOutputIsPrintable(t *testing.T) {
	t.Parallel()
	for _, format := range []output{"text", "json"} {
		var b strings.Builder
		hostile := "\u009b31m\u202e\x1b[2J"
		err := format.write(&b, hostile, func(to io.Writer) error {
			_, err := fmt.Fprintf(to, "%s\tcell\n", hostile)
			return err
		})
		if said := strings.ReplaceAll(b.String(), "\n", ""); err != nil || strings.ContainsFunc(said, event.Unprintable) || !strings.Contains(said, `\u009b31m\u202e\u001b`) {
			t.Errorf("%s: %q, error %v", format, said, err)
		}
	}
}
