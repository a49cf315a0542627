package rawjson

import (
	"bytes"
	"encoding/json"

	"github.com/tidwall/gjson"
)

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
