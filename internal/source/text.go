package source

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

const replacement = "\uFFFD"

func isTrue(value []byte) bool { return string(value) == "true" }

// validID reads an id; false when it is none.
func validID(value []byte) (string, bool) {
	id := rawjson.Text(value)
	return id, event.ValidID(id)
}

// boundedID is an event's id as it is, or its hash where the table can't hold it.
func boundedID(id string) string {
	if id == "" || event.ValidID(id) {
		return id
	}
	return hashedID([]byte(id))
}

// messageID is boundedID for an id in a body; "" when absent. Where decoding lost
// something the token itself is hashed: two such ids stay two.
func messageID(value []byte) string {
	id := rawjson.Text(value)
	switch {
	case id == "":
		return ""
	case strings.Contains(id, replacement):
		return hashedID(value[1 : len(value)-1])
	}
	return boundedID(id)
}

func hashedID(id []byte) string {
	sum := sha256.Sum256(id)
	return "sha256:" + hex.EncodeToString(sum[:])
}

const (
	// maxNesting keeps metadata within what every later reader takes: PostgreSQL's JSON
	// parser recurses and gives up at a depth that depends on the server.
	maxNesting = 200
	// maxDigits bounds the numbers with an exponent. jsonb keeps 1e131071 in a few bytes, but
	// whoever reads it as text gets all its digits: a body of 1 MiB would become 15 GB.
	maxDigits = 1 << 20
)

// metadataOf returns a JSON object that jsonb accepts: the bytes as sent when they are
// clean, "{}" when there is no object. The reason is why the metadata can't be used, else "".
func metadataOf(value []byte) (metadata, reason string) {
	if rawjson.Kind(value) != '{' {
		return "{}", ""
	}
	metadata, reason = documentOf(value)
	return cmp.Or(metadata, "{}"), reason
}

// documentOf returns a JSON text that jsonb accepts, or the reason why there is none.
func documentOf(value []byte) (document, reason string) {
	if rawjson.Deeper(value, maxNesting) {
		return "", reasonTooDeep
	}
	repaired, digits := repairJSON(value)
	if digits > maxDigits {
		return "", reasonNumbers
	}
	return string(repaired), ""
}

// repairJSON rewrites the strings, keys included, and the numbers that jsonb refuses.
// It makes a single pass over the tokens and copies only when something is wrong. Digits is
// how many jsonb writes for the numbers with an exponent.
func repairJSON(text []byte) (repaired []byte, digits int) {
	var out []byte
	done := 0
	for at := 0; at < len(text); {
		end, fix := at+1, []byte(nil)
		switch c := text[at]; {
		case c == '"':
			end = rawjson.StringEnd(text, at)
			fix = repairString(text[at:end])
		case c == '-' || c >= '0' && c <= '9':
			end = rawjson.ScalarEnd(text, at)
			var written int
			fix, written = repairNumber(text[at:end])
			digits += written
		}
		if fix != nil {
			out = append(append(out, text[done:at]...), fix...)
			done = end
		}
		at = end
	}
	if out == nil {
		return text, digits
	}
	return append(out, text[done:]...), digits
}

// repairString returns the token to put in place of one that jsonb refuses, else nil.
func repairString(token []byte) []byte {
	if bytes.IndexByte(token, '\\') < 0 || !refusedEscape(token) {
		return nil
	}
	quoted, err := json.Marshal(rawjson.Text(token))
	if err != nil {
		return []byte(`""`)
	}
	return quoted
}

// refusedEscape looks for \u0000 and for surrogates that are no pair.
func refusedEscape(token []byte) bool {
	for at := 0; at < len(token); at++ {
		if token[at] != '\\' {
			continue
		}
		at++
		unit, ok := codeUnit(token, at-1)
		if !ok {
			continue
		}
		at += 4
		switch {
		case unit == 0, unit >= 0xDC00 && unit <= 0xDFFF:
			return true
		case unit >= 0xD800 && unit <= 0xDBFF:
			if low, ok := codeUnit(token, at+1); !ok || low < 0xDC00 || low > 0xDFFF {
				return true
			}
			at += 6
		}
	}
	return false
}

// codeUnit reads the \uXXXX at an index.
func codeUnit(token []byte, at int) (uint64, bool) {
	if at+6 > len(token) || token[at] != '\\' || token[at+1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(token[at+2:at+6]), 16, 16)
	return unit, err == nil
}

// The digits that PostgreSQL's numeric, which is jsonb's number, takes before and
// after the decimal point.
const (
	maxBefore = 131072
	maxAfter  = 16383
)

// repairNumber quotes a number that jsonb refuses, else returns nil, and how many digits jsonb
// writes for it, 0 without an exponent.
func repairNumber(token []byte) (quoted []byte, written int) {
	exponent := bytes.ContainsAny(token, "eE")
	if len(token) <= maxAfter && !exponent {
		return nil, 0
	}
	before, after, ok := numericDigits(string(token))
	switch {
	case !ok || before > maxBefore || after > maxAfter:
		return append(append([]byte{'"'}, token...), '"'), 0
	case exponent:
		return nil, max(before, 1) + max(after, 0)
	}
	return nil, 0
}

// numericDigits are the digits that a number needs before and after the decimal point; false
// when its exponent is out of all bounds.
func numericDigits(number string) (before, after int, ok bool) {
	mantissa, exponent := strings.TrimPrefix(number, "-"), 0
	if at := strings.IndexAny(mantissa, "eE"); at >= 0 {
		var err error
		exponent, err = strconv.Atoi(mantissa[at+1:])
		// Far beyond any mantissa that a body can hold, and safe to add to.
		if err != nil || max(exponent, -exponent) > 1<<29 {
			return 0, 0, false
		}
		mantissa = mantissa[:at]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits != "" {
		before = len(digits) - len(fraction) + exponent
	}
	return before, len(fraction) - exponent, true
}
