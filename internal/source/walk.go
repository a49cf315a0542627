package source

import (
	"bytes"
	"encoding/json"
)

// walk reads the members of an object or the elements of an array one by one, in
// place. It relies on encoding/json having found the text valid, and so only has to
// find where values end.
type walk struct {
	text []byte
	at   int
}

// into starts a walk through an object or array; any other value has no members.
func into(value []byte) walk {
	if kind(value) != '{' && kind(value) != '[' {
		return walk{}
	}
	return walk{text: value, at: 1}
}

// member returns the next key, unescaped, and its value.
func (w *walk) member() (key, value []byte, ok bool) {
	start := gap(w.text, w.at)
	if start >= len(w.text) || w.text[start] != '"' {
		return nil, nil, false
	}
	end := stringEnd(w.text, start)
	key = unescape(w.text[start:end])
	start = gap(w.text, end)
	w.at = valueEnd(w.text, start)
	return key, w.text[start:w.at], true
}

// element returns the next value of an array.
func (w *walk) element() (value []byte, ok bool) {
	start := gap(w.text, w.at)
	if start >= len(w.text) || w.text[start] == ']' {
		return nil, false
	}
	w.at = valueEnd(w.text, start)
	return w.text[start:w.at], true
}

// kind is the first byte of a value, which tells its JSON type; 0 when there is none.
func kind(value []byte) byte {
	if len(value) == 0 {
		return 0
	}
	return value[0]
}

// gap skips whitespace and the separators between values.
func gap(text []byte, at int) int {
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

// valueEnd returns the index after the value that starts at at.
func valueEnd(text []byte, at int) int {
	if at >= len(text) {
		return len(text)
	}
	switch text[at] {
	case '"':
		return stringEnd(text, at)
	case '{', '[':
		return containerEnd(text, at)
	}
	return scalarEnd(text, at)
}

func stringEnd(text []byte, at int) int {
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
			at = stringEnd(text, at)
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

func scalarEnd(text []byte, at int) int {
	for at++; at < len(text); at++ {
		switch text[at] {
		case ',', ']', '}', ':', ' ', '\t', '\r', '\n':
			return at
		}
	}
	return at
}

// deeper reports whether a text, which need not be valid JSON, nests deeper than so many
// levels. Counting the brackets settles it for all but odd ones.
func deeper(text []byte, levels int) bool {
	if bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) <= levels {
		return false
	}
	depth := 0
	for at := 0; at < len(text) && depth <= levels; at++ {
		switch text[at] {
		case '"':
			at = stringEnd(text, at) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
	}
	return depth > levels
}

// unescape returns the contents of a string token.
func unescape(token []byte) []byte {
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
