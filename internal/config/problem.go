package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in the file; lines and columns count from 1, columns in
// characters. A zero Line means that the place is unknown.
type Pos struct {
	File         string
	Line, Column int
}

// String is file:line:column, or the file alone.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// ParsePos reads what String has written.
func ParsePos(at string) Pos {
	var p Pos
	colon := strings.LastIndexByte(at[:max(0, strings.LastIndexByte(at, ':'))], ':')
	if colon < 0 {
		return Pos{File: at}
	}
	if _, err := fmt.Sscanf(at[colon:], ":%d:%d", &p.Line, &p.Column); err != nil {
		return Pos{File: at}
	}
	p.File = at[:colon]
	return p
}

// Problem is one mistake: where, what happened, what to do. What never holds the
// value of a variable.
type Problem struct {
	Pos  Pos
	What string
}

// Error is "file:line:column: what, and what to do".
func (p Problem) Error() string { return p.Pos.String() + ": " + p.What }

// Problems are the mistakes of one file. Load returns them sorted; a caller that adds
// others sorts again.
type Problems []Problem

// Error has one line per problem, more where a problem shows an example.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Add appends a problem.
func (ps *Problems) Add(pos Pos, format string, args ...any) {
	*ps = append(*ps, Problem{pos, fmt.Sprintf(format, args...)})
}

// Sort orders by position; problems of one place keep their order.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}
