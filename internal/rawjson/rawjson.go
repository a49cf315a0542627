// Package rawjson reads JSON in place. It decodes nothing into structs, which would match keys in any case
// ("ID" for "id"), merge repeated ones and lose the bytes:
//
//	user := rawjson.Pick(rawjson.Object(body), []string{"id", "email"})
//	email := user.Text("email")
//
// Object and Valid judge whether a text is JSON. All other functions rely on a text that is.
package rawjson

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Walk reads the members of an object or the elements of an array one by one.
type Walk struct {
	text []byte
	at   int
}

// Into starts a walk through an object or array; any other value has no members.
func Into(value []byte) Walk {
	if Kind(value) != '{' && Kind(value) != '[' {
		return Walk{}
	}
	return Walk{text: value, at: 1}
}

// Member returns the next key, unescaped, and its value.
func (w *Walk) Member() (key, value []byte, ok bool) {
	start := Gap(w.text, w.at)
	if start >= len(w.text) || w.text[start] != '"' {
		return nil, nil, false
	}
	end := StringEnd(w.text, start)
	key = Unescape(w.text[start:end])
	start = Gap(w.text, end)
	w.at = ValueEnd(w.text, start)
	return key, w.text[start:w.at], true
}

// Element returns the next value of an array.
func (w *Walk) Element() (value []byte, ok bool) {
	start := Gap(w.text, w.at)
	if start >= len(w.text) || w.text[start] == ']' {
		return nil, false
	}
	w.at = ValueEnd(w.text, start)
	return w.text[start:w.at], true
}

// End is the index after the value that was returned last.
func (w *Walk) End() int { return w.at }

// members are the keys of an object, unescaped, with their values.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for w := Into(object); ; {
			key, value, ok := w.Member()
			if !ok || !yield(key, value) {
				return
			}
		}
	}
}

// Member returns a member's value, nil when absent; the last one wins.
func Member(object []byte, name string) []byte {
	var found []byte
	for key, value := range members(object) {
		if string(key) == name {
			found = value
		}
	}
	return found
}

// mostPicked is how many members may be picked. Their values have room in Picked itself: a slice would be
// an allocation for every object that is read.
const mostPicked = 32

// Picked are the values of some members of an object.
type Picked struct {
	names  []string
	values [mostPicked][]byte
}

// Pick reads the members with these names, 32 at most; of a repeated one the last value counts. What is no
// object has none.
func Pick(object []byte, names []string) Picked {
	p := Picked{names: names}
	if Kind(object) != '{' {
		return p
	}
	for key, value := range members(object) {
		for at, name := range names { // a closure would be called for each name
			if name == string(key) {
				p.values[at] = value
				break
			}
		}
	}
	return p
}

// Get returns the value of one of the names, nil when it is absent.
func (p *Picked) Get(name string) []byte { return p.values[slices.Index(p.names, name)] }

// Text is Text of the value of one of the names.
func (p *Picked) Text(name string) string { return Text(p.Get(name)) }

// Kind is the first byte of a value, which tells its JSON type; 0 when there is none.
func Kind(value []byte) byte {
	if len(value) == 0 {
		return 0
	}
	return value[0]
}

// Gap skips whitespace and the separators between values.
func Gap(text []byte, at int) int {
	for at < len(text) {
		switch text[at] {
		case ' ', '\t', '\r', '\n', ',', ':':
			at++
		default:
			return at
		}
	}
	return at
}

// ValueEnd returns the index after the value that starts at at.
func ValueEnd(text []byte, at int) int {
	if at >= len(text) {
		return len(text)
	}
	switch text[at] {
	case '"':
		return StringEnd(text, at)
	case '{', '[':
		return containerEnd(text, at)
	}
	return ScalarEnd(text, at)
}

// StringEnd returns the index after the string that starts at at.
func StringEnd(text []byte, at int) int {
	for at++; at < len(text); at++ {
		switch text[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(text)
}

// containerEnd counts instead of recursing: a hostile body nests as deep as it likes.
func containerEnd(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"':
			at = StringEnd(text, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		at++
		if depth == 0 {
			return at
		}
	}
	return len(text)
}

// ScalarEnd returns the index after the number or the word that starts at at.
func ScalarEnd(text []byte, at int) int {
	for at++; at < len(text); at++ {
		switch text[at] {
		case ',', ']', '}', ':', ' ', '\t', '\r', '\n':
			return at
		}
	}
	return at
}

// IsKey reports whether the string that ends here is a member's key.
func IsKey(text []byte, end int) bool {
	for end < len(text) && strings.IndexByte(" \t\r\n", text[end]) >= 0 {
		end++
	}
	return end < len(text) && text[end] == ':'
}

// Object returns the JSON object a body consists of, else nil.
func Object(body []byte) []byte {
	trimmed := bytes.Trim(body, " \t\r\n")
	if Kind(trimmed) != '{' || !Valid(trimmed) {
		return nil
	}
	return trimmed
}

// deepest is the nesting up to which a judge may recurse. It is encoding/json's own limit.
const deepest = 10_000

// Valid is json.Valid in a fifth of its time, which is half of what decoding takes, and
// without its limit of the depth: what a client nests deeper is valid JSON for the provider.
func Valid(text []byte) bool {
	if Deeper(text, deepest) {
		return validTokens(text)
	}
	return gjson.ValidBytes(text)
}

// validTokens judges without recursion, in ten times the time: encoding/json's limit does not
// hold for single tokens.
func validTokens(text []byte) bool {
	tokens := json.NewDecoder(bytes.NewReader(text))
	tokens.UseNumber() // a number may be too large for a float
	for depth := 0; ; {
		token, err := tokens.Token()
		if err != nil {
			return false
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return len(bytes.TrimLeft(text[tokens.InputOffset():], " \t\r\n")) == 0
		}
	}
}

// Deeper reports whether a text, which need not be valid JSON, nests deeper than so many
// levels. Counting the brackets settles it for all but odd ones.
func Deeper(text []byte, levels int) bool {
	if bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) <= levels {
		return false
	}
	depth := 0
	for at := 0; at < len(text) && depth <= levels; at++ {
		switch text[at] {
		case '"':
			at = StringEnd(text, at) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
	}
	return depth > levels
}

const replacement = "\uFFFD"

// ToUTF8 replaces every invalid byte by U+FFFD. It comes before all decoding, so
// that a stored body and the body received decode alike.
func ToUTF8(body []byte) []byte {
	if utf8.Valid(body) {
		return body
	}
	return []byte(string([]rune(string(body))))
}

// Contents returns the unescaped bytes of a string value, nil when it is none. It
// copies nothing where nothing is escaped.
func Contents(value []byte) []byte {
	if Kind(value) != '"' {
		return nil
	}
	return Unescape(value)
}

// Text reads a text that PostgreSQL can hold; "" when absent or not a string.
func Text(value []byte) string {
	text := Contents(value)
	if bytes.IndexByte(text, 0) >= 0 {
		return strings.ReplaceAll(string(text), "\x00", replacement)
	}
	return string(text)
}

// Unescape returns the contents of a string token. It leaves escapes to encoding/json: a lone
// surrogate becomes U+FFFD.
func Unescape(token []byte) []byte {
	if bytes.IndexByte(token, '\\') < 0 {
		return token[1 : len(token)-1]
	}
	var s string
	if err := json.Unmarshal(token, &s); err != nil {
		return []byte{}
	}
	return []byte(s)
}

// Quote is a text as JSON, without the escapes that only HTML needs.
func Quote(text string) []byte {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return []byte(`""`) // can't be: every string can be written
	}
	return []byte(strings.TrimSuffix(out.String(), "\n"))
}

// Integer reads a number, dropping a fraction; false when it is none.
func Integer(value []byte) (int64, bool) {
	if c := Kind(value); c != '-' && (c < '0' || c > '9') {
		return 0, false
	}
	// Syntax was checked before; out of range it is infinite. Up to 2^53 a float holds
	// every integer, and beyond this limit there is no time to represent.
	const limit = 1e15
	f, _ := strconv.ParseFloat(string(value), 64)
	return int64(max(-limit, min(f, limit))), true
}
