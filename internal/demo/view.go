package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"rollcall/internal/postgres"
)

// paint is an ANSI colour; none of them is needed to understand a line.
type paint string

// The colours.
const (
	bold   paint = "1"
	dim    paint = "2"
	red    paint = "31"
	green  paint = "32"
	yellow paint = "33"
	cyan   paint = "36"
)

// view shows the demo to a person.
type view struct {
	out     io.Writer
	colours bool
	seen    map[string][]string // the rows of each table when it was last shown
}

func newView(o Options) *view {
	return &view{out: o.Out, colours: o.Colours, seen: map[string][]string{}}
}

func (v *view) paint(p paint, text string) string {
	if !v.colours {
		return text
	}
	return "\x1b[" + string(p) + "m" + text + "\x1b[0m"
}

func (v *view) line(format string, args ...any) { fmt.Fprintf(v.out, format+"\n", args...) }

// outcomePaint tells good from bad at a glance.
func outcomePaint(outcome string) paint {
	switch outcome {
	case "applied", "announced":
		return green
	case "unverified", "unavailable", "undecodable", "too_large", "malformed":
		return red
	default:
		return yellow
	}
}

// table shows a table if it differs from when it was last shown, with what is new in
// green (after a + where there are no colours).
func (v *view) table(name string, rows *postgres.Rows) {
	grid := texts(rows)
	keys := make([]string, len(grid))
	for i, line := range grid {
		keys[i] = strings.Join(line, "\x00")
	}
	before := v.seen[name]
	v.seen[name] = keys
	if slices.Equal(before, keys) {
		return
	}
	v.line("      %s", v.paint(bold, name))
	if len(grid) == 0 {
		v.line("      %s", v.paint(dim, "(no rows)"))
		return
	}
	lines := align(append([][]string{rows.Columns}, grid...))
	v.line("      %s", v.paint(dim, lines[0]))
	for i, line := range lines[1:] {
		if slices.Contains(before, keys[i]) {
			v.line("      %s", line)
			continue
		}
		v.line("    %s %s", v.paint(green, "+"), v.paint(green, line))
	}
}

// texts are the cells of rows as they are shown.
func texts(rows *postgres.Rows) [][]string {
	var grid [][]string
	for _, cells := range rows.Cells {
		line := make([]string, len(cells))
		for i, cell := range cells {
			line[i] = "·"
			if cell != nil {
				line[i] = *cell
			}
		}
		grid = append(grid, line)
	}
	return grid
}

// align lays out in columns.
func align(grid [][]string) []string {
	widths := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(grid))
	for n, line := range grid {
		var text strings.Builder
		for i, cell := range line {
			text.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		lines[n] = strings.TrimRight(text.String(), " ")
	}
	return lines
}

// Tail keeps the last of what is written to it.
type Tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4 << 10

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(p), nil
}

// String is what it keeps.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
