// Package rawjson reads JSON in place. It decodes nothing into structs, which would match keys in any case
// ("ID" for "id"), merge repeated ones and lose the bytes:
//
//	for w := rawjson.Into(rawjson.Object(body)); ; {
//		key, value, ok := w.Member()
//		…
//	}
//
// Object and Valid judge whether a text is JSON. All other functions rely on a text that is.
package rawjson

import "strings"

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

// Member returns a member's value, nil when absent; the last one wins.
func Member(object []byte, name string) []byte {
	var found []byte
	for w := Into(object); ; {
		key, value, ok := w.Member()
		if !ok {
			return found
		}
		if string(key) == name {
			found = value
		}
	}
}

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
