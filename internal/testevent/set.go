package testevent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"rollcall/internal/rawjson"
)

// valueOf is the JSON that a word on a command line means: JSON when it is some, else a text.
func valueOf(word string) []byte {
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(word)) == nil {
		return compact.Bytes()
	}
	return rawjson.Quote(word)
}

// set puts a JSON value into a JSON text, at a path such as data.first_name or
// data.email_addresses[0].email_address (.0. is the same). What is missing on the way is
// made, an index one past the end appends, and all other bytes stay as they are.
func set(text []byte, path string, value []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if !json.Valid(text) {
		return nil, fmt.Errorf("set %s: the body is not JSON", path)
	}
	keys := strings.Split(strings.ReplaceAll(strings.ReplaceAll(path, "]", ""), "[", "."), ".")
	for _, key := range keys {
		if key == "" {
			return nil, fmt.Errorf("set %q: write a path such as data.first_name or data.email_addresses[0].email_address", path)
		}
	}
	out, err := setAt(text, keys, value)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", path, err)
	}
	return out, nil
}

// setAt replaces what the keys lead to within a value; an absent value is empty.
func setAt(value []byte, keys []string, to []byte) ([]byte, error) {
	if len(keys) == 0 {
		return to, nil
	}
	switch rawjson.Kind(value) {
	case 0, 'n':
		value = []byte("{}")
		if keys[0] == "0" {
			value = []byte("[]")
		}
	case '{', '[':
	default:
		return nil, fmt.Errorf("there is no %s in %s", keys[0], scalarKind(value))
	}
	start, end, err := find(value, keys[0])
	if err != nil {
		return nil, err
	}
	inner, err := setAt(value[start:end], keys[1:], to)
	if err != nil {
		return nil, err
	}
	if start == end {
		inner = added(value[:start], keys[0], inner)
	}
	return bytes.Join([][]byte{value[:start], inner, value[end:]}, nil), nil
}

func scalarKind(value []byte) string {
	switch rawjson.Kind(value) {
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	}
	return "a number"
}

// find tells where a member or element stands; for one to be added, which is empty, where
// it goes.
func find(container []byte, key string) (start, end int, err error) {
	if rawjson.Kind(container) == '[' {
		return findElement(container, key)
	}
	for w := rawjson.Into(container); ; {
		name, value, ok := w.Member()
		if !ok {
			break
		}
		if string(name) == key { // the last of several counts, as in reading
			start, end = w.End()-len(value), w.End()
		}
	}
	if end == 0 {
		start = lastEnd(container)
		end = start
	}
	return start, end, nil
}

func findElement(array []byte, key string) (start, end int, err error) {
	index, err := strconv.Atoi(key)
	if err != nil {
		return 0, 0, fmt.Errorf("there is no %s in a list; give an index, the first is 0", key)
	}
	count := 0
	for w := rawjson.Into(array); ; count++ {
		value, ok := w.Element()
		if !ok {
			break
		}
		if count == index {
			return w.End() - len(value), w.End(), nil
		}
	}
	if index != count {
		return 0, 0, errors.New("the list has " + strconv.Itoa(count) + " elements; " + key + " is none of them and not the next")
	}
	end = lastEnd(array)
	return end, end, nil
}

// lastEnd is where the last member or element of a container ends.
func lastEnd(container []byte) int {
	return len(bytes.TrimRight(container[:len(container)-1], " \t\r\n"))
}

// added is a value as it's written behind what a container holds already.
func added(before []byte, key string, value []byte) []byte {
	var out []byte
	if len(before) > 1 {
		out = append(out, ',')
	}
	if before[0] == '{' {
		out = append(append(out, rawjson.Quote(key)...), ':')
	}
	return append(out, value...)
}
