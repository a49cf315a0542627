package source

import (
	"bytes"
	"slices"
	"strings"

	"rollcall/internal/rawjson"
)

// privateMetadata is the part of a Clerk user that only the application's backend may
// see.
const privateMetadata = "private_metadata"

// secretWords mark the names of columns and fields that must not be stored:
// encrypted_password, confirmation_token, email_change_token_new and their like in
// auth.users, one-time codes, and what later versions may add under such a name.
var secretWords = []string{"password", "passwd", "passcode", "token", "secret", "otp", "hash", "nonce", "ticket"}

// secretsFrom has for each letter, in either case, the secretWords that begin with it.
var secretsFrom = func() (words [256][]string) {
	for _, word := range secretWords {
		for _, initial := range []byte{word[0], word[0] - 'a' + 'A'} {
			words[initial] = append(words[initial], word)
		}
	}
	return words
}()

// isSecretWord reports whether one of the words occurs in the key, in any case.
func isSecretWord(key []byte) bool {
	for at, c := range key {
		for _, word := range secretsFrom[c] {
			if beginsFold(key[at:], word) {
				return true
			}
		}
	}
	return false
}

// beginsFold reports whether a text begins with a lower-case word of ASCII, in any case.
func beginsFold(text []byte, word string) bool {
	if len(text) < len(word) {
		return false
	}
	for i := range len(word) {
		if text[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}

// redaction says which members to drop from a JSON text.
type redaction struct {
	// secret tells the members to drop, at any depth.
	secret func(key []byte) bool
	// keepEmpty leaves members whose value is null or {}.
	keepEmpty bool
	// within and kept name the members at kept[…] of the objects at within[…] that stay
	// whole: user and app metadata, which decoding needs and the roll holds anyway.
	within, kept []string
	// inner names members of the objects at within[…] whose own members at kept[…] stay whole, too.
	inner []string
}

var (
	clerkRedaction = redaction{
		secret:    func(key []byte) bool { return string(key) == privateMetadata },
		keepEmpty: true,
		within:    []string{"data"},
		kept:      []string{"public_metadata", "unsafe_metadata"},
	}
	membershipRedaction = redaction{
		secret:    clerkRedaction.secret,
		keepEmpty: true,
		within:    []string{"data"},
		kept:      []string{"public_metadata"},
		inner:     []string{"organization"},
	}
	databaseRedaction = redaction{
		secret: isSecretWord,
		within: []string{"record", "old_record"},
		kept:   []string{"raw_user_meta_data", "raw_app_meta_data"},
	}
	listRedaction = redaction{
		secret: func(key []byte) bool { return string(key) == privateMetadata || isSecretWord(key) },
	}
	// The url of an invitation lets its reader sign up.
	salvageRedaction = redaction{
		secret: func(key []byte) bool { return string(key) == "url" || listRedaction.secret(key) },
	}
)

// kept is the body to store of an event that was decoded: decoding it again gives the
// same user.
func (m *message) kept() []byte {
	switch {
	case m.private:
		return nil
	case m.endpoint == Database:
		return databaseRedaction.apply(m.body)
	case m.source.provider != Clerk || obviouslyClean(m.body):
		return m.body
	case m.event.Membership != nil:
		return membershipRedaction.apply(m.body)
	}
	return clerkRedaction.apply(m.body)
}

// salvage is the body to store of an event that was not decoded; nil when it is not
// JSON, so that nothing can be taken out of it, and may hold a secret.
func (m *message) salvage() []byte {
	switch {
	case m.object != nil, rawjson.Valid(m.body):
		return salvageRedaction.apply(m.body)
	case m.endpoint == Database, mentions(m.body, privateMetadata), isSecretWord(m.body):
		return nil
	}
	return m.body
}

// obviouslyClean spares the usual delivery, which says {} or null, the search through
// all of its members.
func obviouslyClean(body []byte) bool {
	for rest := body; ; {
		at := bytes.Index(rest, []byte(privateMetadata))
		if at < 0 {
			return !bytes.Contains(body, []byte(`\u`))
		}
		rest = rest[at+len(privateMetadata):]
		if !bytes.HasPrefix(rest, []byte(`":{}`)) && !bytes.HasPrefix(rest, []byte(`":null`)) {
			return false
		}
	}
}

// mentions reports whether a key may occur in a text; an escape may spell any key.
func mentions(text []byte, key string) bool {
	return bytes.Contains(text, []byte(key)) || bytes.Contains(text, []byte(`\u`))
}

// apply returns the text without the secret members; the text itself when there are
// none. All other bytes stay as they are, so decoding can't come to differ.
func (r *redaction) apply(text []byte) []byte {
	c := cutter{text: text}
	var p place
	for at := 0; at < len(text); {
		switch text[at] {
		case '{', '[':
			p.depth++
		case '}', ']':
			p.depth--
		case '"':
			end := rawjson.StringEnd(text, at)
			if !rawjson.IsKey(text, end) {
				at = end
				continue
			}
			key, start := rawjson.Unescape(text[at:end]), rawjson.Gap(text, end)
			switch {
			case p.inData() && slices.Contains(r.kept, string(key)):
				end = rawjson.ValueEnd(text, start)
			case r.secret(key) && !(r.keepEmpty && isEmpty(text[start:])):
				end = c.cut(at, rawjson.ValueEnd(text, start))
			default:
				r.enter(&p, key)
			}
			at = end
			continue
		}
		at++
	}
	return c.rest()
}

// place is where in a text a member stands.
type place struct {
	depth int
	// within: inside a member of within; inner: inside a member of inner of such a one.
	within, inner bool
}

// inData reports whether members at kept stay whole here.
func (p *place) inData() bool { return p.depth == 2 && p.within || p.depth == 3 && p.inner }

// enter notes whose members follow.
func (r *redaction) enter(p *place, key []byte) {
	switch p.depth {
	case 1:
		p.within, p.inner = slices.Contains(r.within, string(key)), false
	case 2:
		p.inner = p.within && slices.Contains(r.inner, string(key))
	}
}

// isEmpty reports whether a text begins with null or {}.
func isEmpty(value []byte) bool {
	if rawjson.Kind(value) != '{' {
		return rawjson.Kind(value) == 'n'
	}
	inside := bytes.TrimLeft(value[1:], " \t\r\n")
	return rawjson.Kind(inside) == '}'
}

// cutter copies a text without the members cut out of it.
type cutter struct {
	text, out []byte
	done      int
	changed   bool
}

// cut leaves out the member from start to end together with one comma: the one behind
// it, or for a last member the one before it. It returns where to go on.
func (c *cutter) cut(start, end int) int {
	if !c.changed {
		c.out, c.changed = make([]byte, 0, len(c.text)), true
	}
	c.out = append(c.out, c.text[c.done:start]...)
	for end < len(c.text) && strings.IndexByte(" \t\r\n", c.text[end]) >= 0 {
		end++
	}
	if end < len(c.text) && c.text[end] == ',' {
		end++
	} else {
		c.out = bytes.TrimRight(c.out, " \t\r\n")
		c.out = bytes.TrimSuffix(c.out, []byte(","))
	}
	c.done = end
	return end
}

func (c *cutter) rest() []byte {
	if !c.changed {
		return c.text
	}
	return append(c.out, c.text[c.done:]...)
}
