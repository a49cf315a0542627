//go:build bench

package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
)

func TestRatioIsTakenWithinARound(t *testing.T) {
	t.Parallel()
	r := results{"a": {{PerSecond: 10}, {PerSecond: 40}, {PerSecond: 90}}, "b": {{PerSecond: 10}, {PerSecond: 10}, {PerSecond: 10}}}
	got, ok := r.ratio("a", "b", perSecond)
	if want := (spread{1, 4, 9}); !ok || got != want {
		t.Errorf("ratio: got %v, want %v", got, want)
	}
	if _, ok := r.ratio("a", "nobody", perSecond); ok {
		t.Error("a ratio of what was not measured")
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		g     goal
		value float64
		want  string
	}{
		{goal{bound: 8}, 8, "reached"},
		{goal{bound: 8}, 6, "**missed** by 25 %"},
		{goal{bound: 2, atMost: true}, 2, "reached"},
		{goal{bound: 2, atMost: true}, 3, "**missed** by 50 %"},
		{goal{}, 3, ""},
	} {
		if got := tt.g.verdict(tt.value); got != tt.want {
			t.Errorf("%v at %v: got %q, want %q", tt.g, tt.value, got, tt.want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for i := range 1000 {
		took = append(took, time.Duration(1000-i))
	}
	got := summary(took, 2*time.Second)
	if want := (measured{PerSecond: 500, P50: 501, P99: 991}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	two := "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
	r := bufio.NewReader(strings.NewReader(two))
	for range 2 {
		must.Do(t, readAnswer(r))
	}
	must.Fail(t, readAnswer(r), nil, "503", "busy")
}

func TestWriteBetweenKeepsWhatIsAround(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "b.md")
	must.Do(t, os.WriteFile(file, []byte("before\n<!-- x: begin, written by the program -->\nold\n<!-- x: end -->\nafter\n"), 0o600))
	must.Do(t, writeBetween(file, "x", "new\n"))
	got, err := os.ReadFile(file)
	if want := "before\n<!-- x: begin, written by the program -->\n\nnew\n\n<!-- x: end -->\nafter\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := writeBetween(file, "y", "new"); err == nil {
		t.Error("a part without marks was written")
	}
}
