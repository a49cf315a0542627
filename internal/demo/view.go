package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"rollcall/internal/postgres"
	"rollcall/internal/terminal"
)

// paint is an ANSI colour; none of them is needed to understand a line.
type paint string

// The colours.
const (
	plain  paint = ""
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
	seen    map[string][][]string // the rows of each table when it was last shown
	headers map[string][]string   // the columns of each, which a result without rows lacks
}

func newView(o Options) *view {
	return &view{out: o.Out, colours: o.Colours, seen: map[string][][]string{}, headers: map[string][]string{}}
}

func (v *view) paint(p paint, text string) string {
	if !v.colours || p == plain {
		return text
	}
	return "\x1b[" + string(p) + "m" + text + "\x1b[0m"
}

// line shows a text in one colour. What does not fit goes on below its beginning.
func (v *view) line(p paint, text string) {
	v.folded(p, text, len(text)-len(strings.TrimLeft(text, " ")))
}

// command shows what people paste, on one line however long it is.
func (v *view) command(p paint, text string) { fmt.Fprintln(v.out, v.paint(p, "  "+text)) }

// folded shows a text whose lines after the first are indented.
func (v *view) folded(p paint, text string, indent int) {
	for _, part := range terminal.Fill(text, indent) {
		fmt.Fprintln(v.out, v.paint(p, part))
	}
}

// request shows what became of a request.
func (v *view) request(who string, w webhook) {
	fmt.Fprintf(v.out, "    %s%s %s → %s %s\n", who, v.paint(cyan, w.Source), w.Type,
		v.paint(outcomePaint(w.Outcome), fmt.Sprintf("%d %s", w.Status, w.Outcome)),
		v.paint(dim, fmt.Sprintf("in %.1f ms", w.Seconds*1000)))
}

// visitor shows a request that the demo has not sent.
func (v *view) visitor(w webhook) { v.request(v.paint(bold, "you: "), w) }

// told shows a notification that an application got.
func (v *view) told(t told) {
	fmt.Fprintf(v.out, "    POST /welcome, %s: %s %s %s\n", v.paint(green, "verified"), v.paint(cyan, t.Type), short(t.Data.ID), t.Data.Email)
}

// short is the part of an id that tells people apart.
func short(id string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(id, "user_2Rollcall"), "0000")
	return "…" + name
}

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

// mark tells what has become of a row.
type mark struct {
	sign  string
	paint paint
}

var (
	same    = mark{" ", plain}
	added   = mark{"+", green}
	changed = mark{"~", yellow}
	removed = mark{"-", red}
)

// table shows a table if it differs from when it was last shown: rows that are new, changed or gone are marked.
// The first columns, key of them, tell one row from another.
func (v *view) table(name string, key int, rows *postgres.Rows) {
	id := func(line []string) string { return strings.Join(line[:key], "\x00") }
	before, now := v.seen[name], texts(rows)
	v.seen[name] = now
	if slices.EqualFunc(before, now, slices.Equal) {
		return
	}
	if len(rows.Columns) > 0 {
		v.headers[name] = rows.Columns
	}
	grid, marks := [][]string{v.headers[name]}, []mark{same}
	for _, line := range now {
		m := added
		if at := slices.IndexFunc(before, func(old []string) bool { return id(old) == id(line) }); at >= 0 {
			m = changed
			if slices.Equal(before[at], line) {
				m = same
			}
		}
		grid, marks = append(grid, line), append(marks, m)
	}
	for _, old := range before {
		if !slices.ContainsFunc(now, func(line []string) bool { return id(line) == id(old) }) {
			grid, marks = append(grid, old), append(marks, removed)
		}
	}
	fmt.Fprintln(v.out, "      "+v.paint(bold, name))
	v.grid(grid, marks)
}

// rows shows what a query finds.
func (v *view) rows(rows *postgres.Rows) {
	if len(rows.Cells) == 0 {
		v.line(plain, "    no row")
		return
	}
	grid := append([][]string{rows.Columns}, texts(rows)...)
	v.grid(grid, slices.Repeat([]mark{same}, len(grid)))
}

// grid shows lines in columns; the last column goes on below itself. The first line is the header.
func (v *view) grid(grid [][]string, marks []mark) {
	lines, last := align(grid)
	for i, line := range lines {
		p := marks[i].paint
		if i == 0 {
			p = dim
		}
		v.folded(p, "    "+marks[i].sign+" "+line, 6+last)
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

// align lays out in columns, and says where the last one begins.
func align(grid [][]string) (lines []string, last int) {
	widths := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, width := range widths[:len(widths)-1] {
		last += width + 2
	}
	lines = make([]string, len(grid))
	for n, line := range grid {
		var text strings.Builder
		for i, cell := range line {
			text.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		lines[n] = strings.TrimRight(text.String(), " ")
	}
	return lines, last
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
