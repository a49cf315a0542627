package testevent

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"rollcall/internal/source"
)

// Person is a made-up user, to be filled into a template. No text may need an escape in JSON.
type Person struct {
	ID, Email, Username, Phone string
	FirstName, LastName        string
}

// Template is a built-in event cut into pieces, so that it's filled with one of many users
// at the cost of a copy. It is safe for concurrent use.
type Template struct {
	// Endpoint is where the event belongs.
	Endpoint source.Endpoint
	// pieces alternate between text and the one-letter name of what stands behind it.
	pieces []string
}

// The names of what a template holds; they are letters, so that the pieces stay texts.
const (
	slotID         = "i"
	slotEmail      = "e"
	slotUsername   = "u"
	slotPhone      = "p"
	slotFirst      = "f"
	slotLast       = "l"
	slotFull       = "n"
	slotMessage    = "m"
	slotNowMillis  = "1"
	slotPastMillis = "2"
	slotNow        = "3"
	slotNowRow     = "4"
	slotPastRow    = "5"
	slotNowUnix    = "6"
	slotLaterUnix  = "7"
)

// slotMark surrounds a name while a body is cut up; no JSON text holds the character.
const slotMark = "\x00"

// NewTemplate returns a built-in event by its name as a template; false when the provider has
// none. It is dated and about a user as Sample.Body is; all that tells users apart, and the
// names, are filled in.
func NewTemplate(src *source.Source, name string) (Template, bool) {
	sample, ok := Find(src, name)
	if !ok {
		return Template{}, false
	}
	mark := func(slot string) string { return slotMark + slot + slotMark }
	words := []string{
		`"$now_millis"`, mark(slotNowMillis), `"$before_millis"`, mark(slotPastMillis),
		`"$now_seconds"`, mark(slotNowUnix), `"$later_seconds"`, mark(slotLaterUnix),
		`$now_row`, mark(slotNowRow), `$before_row`, mark(slotPastRow), `$now`, mark(slotNow),
		`$uuid`, mark(slotMessage), `$instance`, sample.instance,
	}
	for slot, text := range personIn(src, sample) {
		if text != "" {
			words = append(words, `"`+text+`"`, `"`+mark(slot)+`"`)
		}
	}
	return Template{sample.Endpoint, strings.Split(strings.NewReplacer(words...).Replace(sample.body), slotMark)}, true
}

// personIn is the user of a sample, by slot.
func personIn(src *source.Source, x Sample) map[string]string {
	e := src.Decode(source.Request{Endpoint: x.Endpoint, Body: x.Body(time.Now())})
	person := map[string]string{slotID: e.UserID}
	u := e.User
	if u == nil {
		return person
	}
	for slot, text := range map[string]*string{
		slotEmail: u.Email, slotUsername: u.Username, slotPhone: u.Phone,
		slotFirst: u.FirstName, slotLast: u.LastName, slotFull: u.FullName,
	} {
		if text != nil {
			person[slot] = *text
		}
	}
	return person
}

// Append writes the event as the provider would send it about a person at a moment.
func (t *Template) Append(to []byte, p Person, now time.Time) []byte {
	for n, piece := range t.pieces {
		if n%2 == 0 {
			to = append(to, piece...)
			continue
		}
		to = fillSlot(to, piece, p, now)
	}
	return to
}

func fillSlot(to []byte, slot string, p Person, now time.Time) []byte {
	switch slot {
	case slotID:
		return append(to, p.ID...)
	case slotEmail:
		return append(to, p.Email...)
	case slotUsername:
		return append(to, p.Username...)
	case slotPhone:
		return append(to, p.Phone...)
	case slotFirst:
		return append(to, p.FirstName...)
	case slotLast:
		return append(to, p.LastName...)
	case slotFull:
		return append(append(append(to, p.FirstName...), ' '), p.LastName...)
	case slotMessage:
		return append(to, uuid.NewString()...)
	}
	return fillTime(to, slot, now.UTC())
}

// fillTime writes a moment; the past one is what a later event says of the sign-up, the later
// one when a token expires.
func fillTime(to []byte, slot string, now time.Time) []byte {
	before := now.Add(-time.Hour)
	switch slot {
	case slotNowMillis:
		return strconv.AppendInt(to, now.UnixMilli(), 10)
	case slotPastMillis:
		return strconv.AppendInt(to, before.UnixMilli(), 10)
	case slotNowUnix:
		return strconv.AppendInt(to, now.Unix(), 10)
	case slotLaterUnix:
		return strconv.AppendInt(to, now.Add(time.Hour).Unix(), 10)
	case slotNow:
		return now.AppendFormat(to, time.RFC3339Nano)
	case slotNowRow:
		return now.AppendFormat(to, rowLayout)
	}
	return before.AppendFormat(to, rowLayout)
}
