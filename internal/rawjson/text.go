package rawjson

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

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

// Unescape returns the contents of a string token.
func Unescape(token []byte) []byte {
	if bytes.IndexByte(token, '\\') < 0 {
		return token[1 : len(token)-1]
	}
	return []byte(decodeString(token))
}

// decodeString leaves escapes to encoding/json; a lone surrogate becomes U+FFFD.
func decodeString(token []byte) string {
	var s string
	if err := json.Unmarshal(token, &s); err != nil {
		return ""
	}
	return s
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
