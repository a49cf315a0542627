package postgres

import (
	"fmt"
	"strings"
)

// tokenKind tells the few kinds of SQL tokens apart that the rules of a target's
// expressions need.
type tokenKind int

const (
	tokenWord   tokenKind = iota + 1 // an unquoted name or keyword, in lower case
	tokenName                        // a "quoted" name, unquoted
	tokenText                        // any string literal
	tokenNumber                      // a number
	tokenParam                       // $1: a parameter, which no expression has
	tokenSymbol                      // one character of anything else
)

type token struct {
	kind tokenKind
	text string
}

// scanSQL splits an expression into tokens, leaving out white space and comments, by
// PostgreSQL's lexical rules under standard_conforming_strings. It reports what is left
// open at the end.
func scanSQL(sql string) ([]token, error) {
	var tokens []token
	for at := 0; at < len(sql); {
		kind, end, err := nextToken(sql, at)
		if err != nil {
			return nil, err
		}
		if kind != 0 {
			tokens = append(tokens, token{kind, tokenTextOf(kind, sql[at:end])})
		}
		at = end
	}
	return tokens, nil
}

func tokenTextOf(kind tokenKind, raw string) string {
	switch kind {
	case tokenWord:
		return strings.ToLower(raw)
	case tokenName:
		return strings.ReplaceAll(raw[1:len(raw)-1], `""`, `"`)
	default:
		return raw
	}
}

// nextToken returns the kind (0 for white space and comments) and the end of the token
// at a position.
func nextToken(sql string, at int) (tokenKind, int, error) {
	rest := sql[at:]
	switch c := rest[0]; {
	case c <= ' ':
		return 0, at + 1, nil
	case strings.HasPrefix(rest, "--"):
		return 0, at + lineEnd(rest), nil
	case strings.HasPrefix(rest, "/*"):
		return closed(0, at, commentEnd(rest), "a comment /*")
	case c == '\'':
		return closed(tokenText, at, quoteEnd(rest, '\'', false), "a text '")
	case strings.ContainsRune("eE", rune(c)) && strings.HasPrefix(rest[1:], "'"):
		return closed(tokenText, at, 1+quoteEnd(rest[1:], '\'', true), "a text E'")
	case c == '"':
		return closed(tokenName, at, quoteEnd(rest, '"', false), `a name "`)
	case c == '$' && dollarTag(rest) != "":
		return closed(tokenText, at, dollarEnd(rest), "a text "+dollarTag(rest))
	default:
		kind, length := openToken(rest)
		return kind, at + length, nil
	}
}

// openToken returns the kind and the length of a token that needs no end.
func openToken(s string) (tokenKind, int) {
	switch c := s[0]; {
	case c == '$' && len(s) > 1 && isDigit(s[1]):
		return tokenParam, 2
	case isDigit(c):
		return tokenNumber, run(s, func(b byte) bool { return isWordByte(b) || b == '.' })
	case isWordStart(c):
		return tokenWord, run(s, isWordByte)
	}
	return tokenSymbol, 1
}

// closed turns a length (0: no end found) into a token or the words about it.
func closed(kind tokenKind, at, length int, what string) (tokenKind, int, error) {
	if length <= 0 || (length == 1 && kind == tokenText) {
		return 0, 0, fmt.Errorf("%s is not closed", what)
	}
	return kind, at + length, nil
}

func lineEnd(s string) int {
	if i := strings.IndexAny(s, "\n\r"); i >= 0 {
		return i + 1
	}
	return len(s)
}

// commentEnd returns the length of a comment; PostgreSQL's comments nest.
func commentEnd(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return i + 1
		}
	}
	return 0
}

// quoteEnd returns the length of a quoted token; a doubled quote stands for one, and
// in an escape text a backslash takes the next character with it.
func quoteEnd(s string, quote byte, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return 0
}

// dollarTag returns the opening $tag$ at the start of s, or "".
func dollarTag(s string) string {
	n := 1 + run(s[1:], func(b byte) bool { return isWordByte(b) && b != '$' })
	if n >= len(s) || s[n] != '$' || isDigit(s[1]) {
		return ""
	}
	return s[:n+1]
}

func dollarEnd(s string) int {
	tag := dollarTag(s)
	end := strings.Index(s[len(tag):], tag)
	if end < 0 {
		return 0
	}
	return len(tag) + end + len(tag)
}

func run(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func isWordStart(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '_' || b >= 0x80
}

func isWordByte(b byte) bool { return isWordStart(b) || isDigit(b) || b == '$' }
