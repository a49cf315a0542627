package source

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// MaskBody is a body for people to see, as JSON: its members in their order, without what tells who a person is.
// Ids, types, moments and the shape of the document stay; other texts keep their first letter, metadata its size.
// What is no JSON becomes a text that says so.
func MaskBody(body []byte) []byte {
	text := rawjson.ToUTF8(body)
	if !rawjson.Valid(text) || rawjson.Deeper(text, maxNesting) {
		return fmt.Appendf(nil, `"%d bytes that are no JSON, or nested too deep"`, len(body))
	}
	var m masker
	m.write("", "", bytes.TrimSpace(text))
	return m.out
}

// plainMembers hold texts that are about no person.
var plainMembers = []string{"id", "uuid", "type", "object", "schema", "table", "status", "strategy", "provider", "role", "aud", "permissions"}

// plain reports whether the text of a member, which is in another one, is shown as it is.
func plain(in, key string) bool {
	return strings.HasSuffix(key, "_id") || slices.Contains(plainMembers, key) || in == "metadata" && key == "name" // of a hook
}

// masker writes JSON without what tells who a person is.
type masker struct{ out []byte }

// write writes a value that has a key, or is in a list with a key, in a member.
func (m *masker) write(in, key string, value []byte) {
	kind := rawjson.Kind(value)
	own := strings.HasSuffix(key, "_metadata") || strings.HasSuffix(key, "_meta_data")
	switch {
	case own && strings.ContainsRune(`{["`, rune(kind)):
		m.out = fmt.Appendf(m.out, `"%d bytes"`, len(value))
	case kind == '{':
		m.object(key, value)
	case kind == '[':
		m.list(in, key, value)
	case kind == '"':
		said := rawjson.Text(value)
		if _, err := time.Parse(time.RFC3339, said); err != nil && !plain(in, key) {
			said = event.Mask(said)
		}
		m.out = append(m.out, rawjson.Quote(said)...)
	default:
		m.out = append(m.out, value...)
	}
}

func (m *masker) object(key string, value []byte) {
	between := byte('{')
	for w := rawjson.Into(value); ; {
		name, member, ok := w.Member()
		if !ok {
			break
		}
		m.out = append(append(m.out, between), rawjson.Quote(string(name))...)
		m.out = append(m.out, ':')
		m.write(key, string(name), member)
		between = ','
	}
	m.end(between, "{}")
}

func (m *masker) list(in, key string, value []byte) {
	between := byte('[')
	for w := rawjson.Into(value); ; {
		element, ok := w.Element()
		if !ok {
			break
		}
		m.out = append(m.out, between)
		m.write(in, key, element)
		between = ','
	}
	m.end(between, "[]")
}

// end closes an object or a list; if nothing was written, it is empty.
func (m *masker) end(between byte, brackets string) {
	if between == ',' {
		brackets = brackets[1:]
	}
	m.out = append(m.out, brackets...)
}
