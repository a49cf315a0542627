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
	Code string // of package doctor
	Pos  Pos
	What string
	// Remedy is what corrects it, if that is known.
	Remedy Remedy
}

// The codes of mistakes; CodeValue is that of all others.
const (
	CodeSyntax   = "config_syntax"
	CodeField    = "config_field"
	CodeVariable = "config_variable"
	CodeSecret   = "config_secret"
	CodeValue    = "config_value"
)

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

// Add appends a problem with a value.
func (ps *Problems) Add(pos Pos, format string, args ...any) {
	ps.AddAs(CodeValue, pos, format, args...)
}

// AddAs appends a problem of another code.
func (ps *Problems) AddAs(code string, pos Pos, format string, args ...any) {
	*ps = append(*ps, Problem{Code: code, Pos: pos, What: fmt.Sprintf(format, args...)})
}

// Sort orders by file and position; problems of one place keep their order.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}
