package target

import (
	"regexp"
	"strings"
)

// The lexer splits SQL text into tokens by PostgreSQL's lexical rules, as they are with
// standard_conforming_strings on. It knows no grammar: PostgreSQL judges that.

// kind is the kind of a token.
type kind int

// The kinds that the rules about expressions need.
const (
	kindWord      kind = iota + 1 // an unquoted name or keyword, in lower case
	kindName                      // a "quoted" name, without its quotes
	kindText                      // a string literal, as written
	kindNumber                    // a number
	kindParameter                 // $1
	kindSymbol                    // one character of anything else
)

// token is one token. White space and comments are none.
type token struct {
	kind kind
	text string
}

// unclosed is the error about a quote or a comment without an end.
type unclosed struct {
	what string // "text", "name" or "comment"
	mark string // what opens it: ', E', $tag$, " or /*
}

func (u *unclosed) Error() string { return "a " + u.what + " " + u.mark + " is not closed" }

// Unmatched returns the first quote, comment or bracket of an SQL text without its partner, and
// whether it is an opening one; "" when all have theirs.
func Unmatched(sql string) (mark string, opens bool) {
	tokens, open := scan(sql)
	if open != nil {
		return open.mark, true
	}
	return unmatched(tokens)
}

// scan splits SQL text into tokens.
func scan(sql string) ([]token, *unclosed) {
	var tokens []token
	for at := 0; at < len(sql); {
		k, size, open := next(sql[at:])
		if open != nil {
			return nil, open
		}
		if k != 0 {
			tokens = append(tokens, token{k, content(k, sql[at:at+size])})
		}
		at += size
	}
	return tokens, nil
}

// unmatched returns the first bracket without its partner, and whether it is an opening one;
// "" when all have theirs.
func unmatched(tokens []token) (bracket string, opens bool) {
	var open []string
	partner := map[string]string{")": "(", "]": "["}
	for _, t := range tokens {
		switch {
		case t.kind != kindSymbol:
		case t.text == "(" || t.text == "[":
			open = append(open, t.text)
		case partner[t.text] != "":
			if len(open) == 0 || open[len(open)-1] != partner[t.text] {
				return t.text, false
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return open[len(open)-1], true
	}
	return "", false
}

func content(k kind, raw string) string {
	switch k {
	case kindWord:
		return strings.ToLower(raw)
	case kindName:
		return strings.ReplaceAll(raw[1:len(raw)-1], `""`, `"`)
	default:
		return raw
	}
}

// next returns the kind (0 for white space and comments) and the size of the first token.
func next(s string) (kind, int, *unclosed) {
	switch c := s[0]; {
	case c <= ' ':
		return 0, 1, nil
	case strings.HasPrefix(s, "--"):
		return 0, lineSize(s), nil
	case strings.HasPrefix(s, "/*"):
		return closed(0, commentSize(s), unclosed{"comment", "/*"})
	case c == '\'':
		return closed(kindText, textSize(s, 0, standard), unclosed{"text", "'"})
	case (c == 'e' || c == 'E') && strings.HasPrefix(s[1:], "'"):
		return closed(kindText, textSize(s, 1, escaping), unclosed{"text", s[:2]})
	case c == '"':
		return closed(kindName, quotedSize(s, '"', standard), unclosed{"name", `"`})
	case c == '$' && dollarTag(s) != "":
		return closed(kindText, dollarSize(s), unclosed{"text", dollarTag(s)})
	default:
		k, size := plain(s)
		return k, size, nil
	}
}

// plain returns the kind and the size of a token that needs no end.
func plain(s string) (kind, int) {
	switch c := s[0]; {
	case c == '$' && len(s) > 1 && isDigit(s[1]):
		return kindParameter, 1 + run(s[1:], isDigit)
	case isDigit(c):
		return kindNumber, len(numberForm.FindString(s))
	case isWordStart(c):
		return kindWord, run(s, isWordByte)
	}
	return kindSymbol, 1
}

// numberForm ends a number before a letter, unless it begins an exponent. PostgreSQL 14 reads
// 1E'a' as a number and a text with escapes; later ones refuse it.
var numberForm = regexp.MustCompile(`^[0-9._]+([eE][+-]?[0-9]+)?`)

// closed is a token of a size, or the error that it has no end (size 0).
func closed(k kind, size int, open unclosed) (kind, int, *unclosed) {
	if size == 0 {
		return 0, 0, &open
	}
	return k, size, nil
}

func lineSize(s string) int {
	if i := strings.IndexAny(s, "\n\r"); i >= 0 {
		return i + 1
	}
	return len(s)
}

// commentSize returns the size of a comment, 0 without an end. Comments nest.
func commentSize(s string) int {
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

// backslash is what a backslash means in a quoted text.
type backslash int

const (
	standard backslash = iota // a character like any other
	escaping                  // it takes the next character with it
)

// textSize returns the size of a string literal with its prefix, 0 without an end. It goes on, by the
// same rules, in a quote behind white space that holds a line break.
func textSize(s string, prefix int, b backslash) int {
	for size := prefix; ; {
		part := quotedSize(s[size:], '\'', b)
		if part == 0 {
			return 0
		}
		size += part
		gap := continued(s[size:])
		if gap == 0 {
			return size
		}
		size += gap
	}
}

// continued returns how far behind a string literal its next part begins, 0 where it has none.
func continued(s string) int {
	line := false
	for at := 0; at < len(s); {
		switch {
		case s[at] == '\n' || s[at] == '\r':
			line = true
			at++
		case s[at] == ' ' || s[at] == '\t' || s[at] == '\f' || s[at] == '\v':
			at++
		case strings.HasPrefix(s[at:], "--"):
			line = true // or it is the end of the SQL text
			at += lineSize(s[at:])
		case s[at] == '\'' && line:
			return at
		default:
			return 0
		}
	}
	return 0
}

// quotedSize returns the size of a quoted token, 0 without an end. A doubled quote stands
// for one.
func quotedSize(s string, quote byte, b backslash) int {
	for i := 1; i < len(s); i++ {
		switch {
		case b == escaping && s[i] == '\\':
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

func dollarSize(s string) int {
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

// Quote is a name in SQL.
func Quote(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}

// QuoteTable is schema.table in SQL.
func QuoteTable(table string) string {
	schema, relation := SplitTable(table)
	return Quote(schema) + "." + Quote(relation)
}

// QuoteAll is a list of names in SQL.
func QuoteAll(names []string) string {
	return strings.Join(each(names, func(_ int, name string) string { return Quote(name) }), ", ")
}

// each is what a function makes of the elements of a list, by their places in it.
func each[T, To any](list []T, of func(n int, element T) To) []To {
	made := make([]To, len(list))
	for n, element := range list {
		made[n] = of(n, element)
	}
	return made
}

// SplitTable splits schema.table at the first point; the schema defaults to public.
func SplitTable(table string) (schema, name string) {
	if s, t, ok := strings.Cut(table, "."); ok {
		return s, t
	}
	return "public", table
}

// Literal is a text in SQL.
func Literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// enclosed keeps an expression by itself: a comment at its end takes nothing along.
func enclosed(sql string) string { return "(\n" + sql + "\n)" }

// equal compares two values by PostgreSQL's own operator. A bare = between two varchar, enum,
// array or domain values takes an operator of schema public, if a role has made one for exactly these
// types. So does "is distinct from".
func equal(a, b string) string { return a + " operator(pg_catalog.=) " + b }
