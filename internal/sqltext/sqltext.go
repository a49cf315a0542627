// Package sqltext splits SQL text into tokens by PostgreSQL's lexical rules, as they are with
// standard_conforming_strings on. It knows no grammar: PostgreSQL judges that.
//
//	tokens, err := sqltext.Scan("coalesce(new.email, '')")
package sqltext

import "strings"

// Kind is the kind of a token.
type Kind int

// The kinds that the rules about expressions need.
const (
	Word   Kind = iota + 1 // an unquoted name or keyword, in lower case
	Name                   // a "quoted" name, without its quotes
	Text                   // a string literal, as written
	Number                 // a number
	Param                  // $1: a parameter
	Symbol                 // one character of anything else
)

// Token is one token. White space and comments are none.
type Token struct {
	Kind Kind
	Text string
}

// Open is the error about a quote or a comment that is never closed.
type Open struct {
	// What is "text", "name" or "comment".
	What string
	// Mark opens it: ', E', $tag$, " or /*.
	Mark string
}

func (o *Open) Error() string { return "a " + o.What + " " + o.Mark + " is not closed" }

// Scan splits SQL text into tokens. Its error is an *Open.
func Scan(sql string) ([]Token, error) {
	var tokens []Token
	for at := 0; at < len(sql); {
		kind, size, err := next(sql[at:])
		if err != nil {
			return nil, err
		}
		if kind != 0 {
			tokens = append(tokens, Token{kind, content(kind, sql[at:at+size])})
		}
		at += size
	}
	return tokens, nil
}

// Unmatched returns the first bracket without its partner, and whether it is an opening one;
// "" when all have theirs.
func Unmatched(tokens []Token) (bracket string, opens bool) {
	var open []string
	partner := map[string]string{")": "(", "]": "["}
	for _, t := range tokens {
		switch {
		case t.Kind != Symbol:
		case t.Text == "(" || t.Text == "[":
			open = append(open, t.Text)
		case partner[t.Text] != "":
			if len(open) == 0 || open[len(open)-1] != partner[t.Text] {
				return t.Text, false
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return open[len(open)-1], true
	}
	return "", false
}

func content(kind Kind, raw string) string {
	switch kind {
	case Word:
		return strings.ToLower(raw)
	case Name:
		return strings.ReplaceAll(raw[1:len(raw)-1], `""`, `"`)
	default:
		return raw
	}
}

// next returns the kind (0 for white space and comments) and the size of the first token.
func next(s string) (Kind, int, error) {
	switch c := s[0]; {
	case c <= ' ':
		return 0, 1, nil
	case strings.HasPrefix(s, "--"):
		return 0, lineSize(s), nil
	case strings.HasPrefix(s, "/*"):
		return closed(0, commentSize(s), Open{"comment", "/*"})
	case c == '\'':
		return closed(Text, textSize(s, standard), Open{"text", "'"})
	case (c == 'e' || c == 'E') && strings.HasPrefix(s[1:], "'"):
		return closed(Text, prefixed(1, textSize(s[1:], escaping)), Open{"text", s[:2]})
	case c == '"':
		return closed(Name, quotedSize(s, '"', standard), Open{"name", `"`})
	case c == '$' && dollarTag(s) != "":
		return closed(Text, dollarSize(s), Open{"text", dollarTag(s)})
	default:
		kind, size := plain(s)
		return kind, size, nil
	}
}

// plain returns the kind and the size of a token that needs no end.
func plain(s string) (Kind, int) {
	switch c := s[0]; {
	case c == '$' && len(s) > 1 && isDigit(s[1]):
		return Param, 1 + run(s[1:], isDigit)
	case isDigit(c):
		return Number, numberSize(s)
	case isWordStart(c):
		return Word, run(s, isWordByte)
	}
	return Symbol, 1
}

// numberSize ends a number before a letter, unless it begins an exponent. PostgreSQL 14 reads
// 1E'a' as a number and a text with escapes; later ones refuse it.
func numberSize(s string) int {
	size := run(s, func(b byte) bool { return isDigit(b) || b == '.' || b == '_' })
	exponent := size
	if exponent < len(s) && (s[exponent] == 'e' || s[exponent] == 'E') {
		exponent++
		if exponent < len(s) && (s[exponent] == '+' || s[exponent] == '-') {
			exponent++
		}
		if digits := run(s[exponent:], isDigit); digits > 0 {
			return exponent + digits
		}
	}
	return size
}

// closed is a token of a size, or the error that it has no end (size 0).
func closed(kind Kind, size int, open Open) (Kind, int, error) {
	if size == 0 {
		return 0, 0, &open
	}
	return kind, size, nil
}

func prefixed(prefix, size int) int {
	if size == 0 {
		return 0
	}
	return prefix + size
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

// textSize returns the size of a string literal, 0 without an end. It goes on, by the same rules,
// in a quote behind white space that holds a line break.
func textSize(s string, b backslash) int {
	size := 0
	for {
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
