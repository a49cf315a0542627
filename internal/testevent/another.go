package testevent

import (
	"strconv"
	"strings"

	"github.com/google/uuid"

	"rollcall/internal/rawjson"
	"rollcall/internal/source"
)

// another makes a body speak of the n-th of many users who are all alike; the first is
// the user it speaks of already. What a table may hold once only differs: id, e-mail
// address, phone number and username, wherever they stand in the body. The n-th user of
// two bodies about one user is one user as well. They all join one organisation; a body that is about an
// organisation itself speaks of the n-th.
func another(src *source.Source, d source.Endpoint, body []byte, n int) []byte {
	e := src.Decode(source.Request{Endpoint: d, Body: body})
	switch {
	case n <= 1:
		return body
	case e.Membership != nil:
		return renamed(body, n, "data.id", "data.public_user_data.user_id", "data.public_user_data.username", "data.public_user_data.identifier")
	case e.Organization != nil:
		return renamed(body, n, "data.id", "data.slug")
	case e.UserID == "":
		return body
	}
	others := map[string]string{}
	if u := e.User; u != nil {
		for _, value := range []struct {
			text  *string
			other func(string, int) string
		}{{u.Username, otherName}, {u.Phone, otherPhone}, {u.Email, otherEmail}} {
			if value.text != nil {
				others[*value.text] = value.other(*value.text, n)
			}
		}
	}
	others[e.UserID] = otherID(e.UserID, n)
	return replaceTexts(body, others)
}

// renamed gives the texts at some paths, as far as there are any, the names that the n-th has.
func renamed(body []byte, n int, paths ...string) []byte {
	for _, at := range paths {
		value := rawjson.Object(body)
		for key := range strings.SplitSeq(at, ".") {
			value = rawjson.Member(value, key)
		}
		text := rawjson.Text(value)
		other := otherName
		if strings.Contains(text, "@") {
			other = otherEmail
		}
		if changed, err := set(body, at, rawjson.Quote(other(text, n))); text != "" && err == nil {
			body = changed
		}
	}
	return body
}

// renewed gives a body that holds its own message id, as Supabase's hooks do, a new one;
// every other body is returned as it is.
func renewed(src *source.Source, d source.Endpoint, body []byte) []byte {
	id := rawjson.Member(rawjson.Member(rawjson.Object(body), "metadata"), "uuid")
	if src.Provider() != source.Supabase || d != source.Hook || rawjson.Text(id) == "" {
		return body
	}
	fresh, err := set(body, "metadata.uuid", rawjson.Quote(uuid.NewString()))
	if err != nil {
		return body // can't be: the member is there
	}
	return fresh
}

func otherID(id string, n int) string {
	if base, err := uuid.Parse(id); err == nil {
		return uuid.NewSHA1(base, []byte(strconv.Itoa(n))).String()
	}
	return otherName(id, n)
}

func otherName(name string, n int) string { return name + "_" + strconv.Itoa(n) }

func otherEmail(address string, n int) string {
	local, domain, _ := strings.Cut(address, "@")
	return local + "+" + strconv.Itoa(n) + "@" + domain
}

// otherPhone counts on from a number; it stays as long as it is, so that it looks real.
func otherPhone(phone string, n int) string {
	const counted = 7 // digits of a number within its area
	at := max(len(phone)-counted, 0)
	number, err := strconv.Atoi(phone[at:])
	if err != nil {
		return phone + strconv.Itoa(n)
	}
	last := strconv.Itoa(number + n - 1)
	return phone[:at] + strings.Repeat("0", max(len(phone)-at-len(last), 0)) + last
}

// replaceTexts replaces whole string values of a JSON text; keys stay.
func replaceTexts(body []byte, others map[string]string) []byte {
	out := make([]byte, 0, len(body)+len(body)/8)
	for at := 0; at < len(body); {
		end := at + 1
		if body[at] == '"' {
			end = rawjson.StringEnd(body, at)
		}
		token := body[at:end]
		if token[0] == '"' && !rawjson.IsKey(body, end) {
			if other, found := others[string(rawjson.Unescape(token))]; found {
				token = rawjson.Quote(other)
			}
		}
		out = append(out, token...)
		at = end
	}
	return out
}
