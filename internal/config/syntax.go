package config

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// The hints for values that YAML reads otherwise than their author.
const (
	hintQuotes = "put double quotes around the whole value, or write it in the lines below >-"
	hintColon  = "YAML reads \": \" as the end of a name: if this is an expression or a text, " + hintQuotes + "; if not, look at the indentation"
	hintSingle = "a value that starts with ' ends at the next ' for YAML: if this is an expression, " + hintQuotes
	hintFlow   = "inside { } and [ ] a comma, a bracket or a quote ends a value: write one line for each (block style), or put double quotes around the value"
	hintDollar = "inside [ ] and { } a ${NAME} must be quoted: write \"${NAME}\""
)

// said translates the parser's messages. Its own may quote the file, where a secret
// can stand, so none is passed on.
var said = []struct{ message, what string }{
	{"could not find end character of", "this quoted text never ends; close it with the quote it starts with"},
	{"',' or '", hintFlow},
	{"could not find flow", hintFlow},
	{"sequence end token", "this [ is never closed; close it with ]"},
	{"could not find '", hintFlow},
	{"expected sequence element", "an item is missing before this comma; remove one of the two"},
	{"mapping value is not allowed", hintColon},
	{"undefined alias", "YAML reads * as an alias; put double quotes around a value that starts with *"},
	{"undefined anchor", "YAML reads & as an anchor; put double quotes around a value that starts with &"},
	{"tab character", "a tab can't indent YAML; use spaces"},
	{"found a tab character", "a tab can't indent YAML; use spaces"},
	{"found character '\t'", "a tab can't indent YAML; use spaces"},
	{"found an unknown escape", "this \\ sequence isn't known inside double quotes; write \\\\ for a backslash"},
	{"found unknown escape", "this \\ sequence isn't known inside double quotes; write \\\\ for a backslash"},
	{"invalid header option", "YAML reads a value that starts with | or > as a text in the lines below; " + hintQuotes},
	{"block sequence entries", "YAML reads \"- \" as an item of a list: put the item in the next line, or double quotes around the value"},
	{"non-map value", "a name without a value stands here; write name: value"},
	{"unexpected key name", "a name without a value stands here; write name: value"},
	{"unexpected directive", "YAML reads % as a directive; put double quotes around a value that starts with %"},
}

// singleFirst finds a value that starts with ' and goes on after the closing one.
var singleFirst = regexp.MustCompile(`^[\s-]*[^\s:]+:\s+'(?:[^']|'')*'\s*[^\s#']`)

// plainFirst finds a value that starts without a quote, so that a quote in it is its own.
var plainFirst = regexp.MustCompile(`^[\s-]*[^\s:]+:\s+[^\s'"\[{|>].*:\s+$`)

// syntaxProblem says where YAML ends to be YAML, and why that often happens there.
func syntaxProblem(file string, data []byte, err error) Problem {
	pos := Pos{file, 1, 1}
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &at) {
		return Problem{Code: CodeSyntax, Pos: pos, What: "this isn't YAML; look at the indentation, the quotes and the brackets"}
	}
	if t := at.GetToken(); t != nil && t.Position != nil {
		pos = Pos{file, max(t.Position.Line, 1), max(t.Position.Column, 1)}
	}
	return Problem{Code: CodeSyntax, Pos: pos, What: syntaxHint(at.GetMessage(), line(data, pos.Line), pos.Column)}
}

func syntaxHint(message, line string, column int) string {
	before, after := cutColumn(line, column)
	flow := strings.HasPrefix(message, "',' or '")
	switch {
	case flow && strings.HasSuffix(before, "$") && strings.HasPrefix(after, "{"):
		return hintDollar
	case singleFirst.MatchString(line):
		return hintSingle
	case strings.HasPrefix(message, "could not find end") && plainFirst.MatchString(before):
		return hintColon
	case strings.HasPrefix(after, "@"), strings.HasPrefix(after, "`"):
		return "YAML reserves @ and ` at the start of a value; put double quotes around it"
	}
	for _, s := range said {
		if strings.HasPrefix(message, s.message) {
			return s.what
		}
	}
	return "YAML can't read what stands here; look at the indentation, and put double quotes around a value with special characters"
}

// line is the numbered line of the file, from 1.
func line(data []byte, number int) string {
	lines := strings.Split(string(data), "\n")
	if number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// cutColumn splits a line before the numbered character, from 1.
func cutColumn(line string, column int) (before, after string) {
	runes := []rune(line)
	i := min(max(column-1, 0), len(runes))
	return string(runes[:i]), string(runes[i:])
}

// notUTF8 is the place of the first byte that is no UTF-8.
func notUTF8(file string, data []byte) Pos {
	pos := Pos{file, 1, 1}
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		pos.Column++
		if r == '\n' {
			pos.Line, pos.Column = pos.Line+1, 1
		}
		data = data[size:]
	}
	return pos
}
