package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
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
	for _, want := range []string{"filling profiles", "50%", "500/1000", "users/s", "[0s:"} {
		if !strings.Contains(got, want) {
			t.Errorf("the bar %q does not say %q", got, want)
		}
	}
	p.Finish()
	if got := screen.String(); !strings.HasSuffix(got, "\x1b[2K\r") { // erases the line
		t.Errorf("the bar stays: %q", got)
	}
}

// Who writes no terminal gets no bar, and every method bears that.
func TestProgressWithoutATerminal(t *testing.T) {
	t.Parallel()
	p := newProgress(environment{stderr: &bytes.Buffer{}}, 10, "filling")
	p.Set(1)
	p.Finish()
	if p != nil {
		t.Error("a bar without a terminal")
	}
}
