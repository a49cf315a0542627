package event

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Unprintable reports whether a character acts on a terminal or changes how other characters are
// shown: controls (C0, DEL, C1), marks of direction, separators of lines, the byte order mark.
func Unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) ||
		r == '\u2028' || r == '\u2029' || r == '\ufeff'
}

// Printable spells out what is unprintable in a text, as \u001b.
func Printable(text string) string { return spell(text, Unprintable) }

func spell(text string, unprintable func(rune) bool) string {
	if !strings.ContainsFunc(text, unprintable) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, width := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += width
	}
	return b.String()
}

// PrintableTo is a writer that does to lines what Printable does to texts, and keeps the ends of
// lines and tabs. JSON stays what it means. Characters must be whole in each write.
func PrintableTo(to io.Writer) io.Writer { return printer{to} }

type printer struct{ to io.Writer }

// Write implements io.Writer. Nearly every line is plain ASCII, and passes as it is.
func (p printer) Write(line []byte) (int, error) {
	if plain(line) {
		return p.to.Write(line)
	}
	spelt := spell(string(line), func(r rune) bool { return r != '\n' && r != '\t' && Unprintable(r) })
	if _, err := io.WriteString(p.to, spelt); err != nil {
		return 0, err
	}
	return len(line), nil
}

// plain reports whether a line has nothing but the printable characters of ASCII, tabs and its end.
func plain(line []byte) bool {
	for _, b := range line {
		if (b < ' ' || b > '~') && b != '\n' && b != '\t' {
			return false
		}
	}
	return true
}

// Mask leaves of an e-mail address (j…@e….com), or of another text (j…), what tells who a person is
// who knows it that it is this one; "" of none.
func Mask(text string) string {
	name, domain, mail := strings.Cut(text, "@")
	if !mail {
		return initial(text)
	}
	ending := ""
	if at := strings.LastIndex(domain, "."); at > 0 {
		ending = domain[at:]
	}
	return initial(name) + "@" + initial(domain) + ending
}

func initial(text string) string {
	for _, letter := range text {
		return string(letter) + "…"
	}
	return ""
}

// MaskJSON is Mask for a JSON value: of a document the size is left, of a number nothing, while null and booleans stay.
func MaskJSON(value json.RawMessage) json.RawMessage {
	var text string
	switch said := string(value); {
	case said == "null", said == "true", said == "false", said == "":
		return value
	case said[0] == '{' || said[0] == '[':
		text = fmt.Sprintf("%d bytes", len(said))
	case json.Unmarshal(value, &text) == nil:
		text = Mask(text)
	default:
		text = "…"
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return json.RawMessage(`"…"`) // can't be: every text can be written
	}
	return quoted
}
