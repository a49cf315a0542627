package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/testlog"
)

// The bar has what, how many of how many, a rate and the time left; what is over within a
// second shows nothing, and nothing stays of it.
func TestProgress(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer
	p := progressOn(&screen, 1000, "filling profiles")
	p.Set(100)
	if screen.Len() > 0 {
		t.Errorf("within the first second it shows %q", screen.String())
	}
	p.to.from = time.Now()
	time.Sleep(200 * time.Millisecond)
	p.Set(500)
	got := screen.String()
	for _, want := range []string{"filling profiles", "50%", "500/1000", "rows/s", "[0s:"} {
		if !strings.Contains(got, want) {
			t.Errorf("the bar %q does not say %q", got, want)
		}
	}
	p.Finish()
	if got := screen.String(); !strings.HasSuffix(got, "\x1b[2K\r") { // erases the line
		t.Errorf("the bar stays: %q", got)
	}
}

// What can't say how far it is says for how long it has been at it; nothing of it stays.
func TestWaiting(t *testing.T) {
	t.Parallel()
	var screen testlog.Log
	finish := waitingOn(&screen, "migrating", 20*time.Millisecond)
	must.Await(t, "a line", func() bool { return strings.Contains(screen.String(), "migrating … 0 s") })
	finish()
	finish()
	if got := screen.String(); !strings.HasSuffix(got, EraseLine) {
		t.Errorf("it stays: %q", got)
	}
	screen.Reset()
	waitingOn(&screen, "migrating", time.Hour)()
	Env{Stderr: &screen}.Waiting("migrating")()
	must.Equal(t, screen.String(), "", "what is over at once, or off a terminal")
}

// Who writes no terminal gets no bar, and every method bears that.
func TestProgressWithoutATerminal(t *testing.T) {
	t.Parallel()
	p := Env{Stderr: &bytes.Buffer{}}.newProgress(10, "filling")
	p.Set(1)
	p.Finish()
	if p != nil {
		t.Error("a bar without a terminal")
	}
}

// The same holds for what commands print, as text and as JSON.
func TestOutputIsPrintable(t *testing.T) {
	t.Parallel()
	for _, format := range []Output{"text", "json"} {
		var b strings.Builder
		hostile := "\u009b31m\u202e\x1b[2J"
		err := format.Write(&b, hostile, func(to io.Writer) error {
			_, err := fmt.Fprintf(to, "%s\tcell\n", hostile)
			return err
		})
		if said := strings.ReplaceAll(b.String(), "\n", ""); err != nil || strings.ContainsFunc(said, event.Unprintable) || !strings.Contains(said, `\u009b31m\u202e\u001b`) {
			t.Errorf("%s: %q, error %v", format, said, err)
		}
	}
}

// A command ends with its terminal.
func TestUntilHangup(t *testing.T) {
	t.Parallel()
	hangup := make(chan os.Signal, 1)
	hangup <- syscall.SIGHUP
	ctx := Env{Hangup: hangup}.UntilHangup(t.Context())
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Error("a command goes on without its terminal")
	}
}
