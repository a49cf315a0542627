package source

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"rollcall/internal/event"
)

// maxNesting keeps documents within what every later reader takes: PostgreSQL's JSON
// parser recurses and gives up at a depth that depends on the server.
const maxNesting = 200

// Reasons of events that can't be read. They are all constants: no value of a body may
// reach a log.
const (
	reasonNoObject = "the body is not a JSON object"
	reasonTooDeep  = "the body nests deeper than 200 levels"
	reasonNoType   = "the event has no type"
	reasonNoUser   = "there is no user object"
	reasonNoID     = "the user has no id that is a text of at most 255 bytes"
)

// message is a request on its way to becoming an event.
type message struct {
	source *Source
	door   Door
	// body is the received one made valid UTF-8; object is the JSON object in it, nil
	// when there is none.
	body   []byte
	object []byte
	// private forbids to keep the body.
	private bool
	// compression is what to say of a compressed body that can't be read.
	compression string
	event       event.Event
}

func (s *Source) receive(r Request) *message {
	m := &message{source: s, door: r.Door, body: validUTF8(r.Body), compression: compression(r)}
	m.object = objectIn(m.body)
	m.event = event.Event{Source: s.name, Type: Other, ReceivedAt: s.at(r.ReceivedAt)}
	if r.Door == Database {
		// Database webhooks have no id. Must can't panic: crypto/rand never fails.
		m.event.ID = uuid.Must(uuid.NewV7()).String()
	} else {
		m.event.ID = s.eventID(r.Header)
	}
	return m
}

// objectIn returns the JSON object a body consists of, else nil.
func objectIn(body []byte) []byte {
	trimmed := bytes.Trim(body, " \t\r\n")
	if kind(trimmed) != '{' || !validJSON(trimmed) {
		return nil
	}
	return trimmed
}

// deepest is the nesting that encoding/json takes, and more than enough of it.
const deepest = 10_000

// validJSON is json.Valid in a fifth of its time, which is half of what decoding takes. The
// other judge recurses: what could nest too deep for it is left to encoding/json.
func validJSON(text []byte) bool {
	if bytes.Count(text, []byte("{"))+bytes.Count(text, []byte("[")) > deepest {
		return json.Valid(text)
	}
	return gjson.ValidBytes(text)
}

// ignore is for what nobody handles. Nothing of it is kept, so neither depth nor shape
// matters.
func (m *message) ignore(reason string) event.Event {
	m.event.Op, m.event.Reason = event.Ignore, reason
	return m.event
}

// answer ignores a message whose sender needs a JSON object in return.
func (m *message) answer(reply []byte, reason string) event.Event {
	m.event.Reply = reply
	return m.ignore(reason)
}

// undecodable keeps the body for a better decoder, freed of everything that might be
// a secret: a body of unknown shape has them in unknown places.
func (m *message) undecodable(reason string) event.Event {
	m.event.Op, m.event.Reason = event.Undecodable, reason+m.compression
	if !m.private {
		m.event.Body = m.salvage()
	}
	return m.event
}

// announce records a user who may come to exist.
func (m *message) announce(id string) event.Event {
	if tooDeep(m.body) {
		return m.undecodable(reasonTooDeep)
	}
	m.event.Op, m.event.UserID, m.event.Body = event.Announce, id, m.kept()
	return m.event
}

// apply makes the event that brings a user into the roll, or takes him out of it.
func (m *message) apply(p *profile, reason string) event.Event {
	if reason == "" && tooDeep(m.body) {
		reason = reasonTooDeep
	}
	if reason != "" {
		return m.undecodable(reason)
	}
	m.event.Op = event.Upsert
	if !p.deleted.IsZero() {
		m.event.Op = event.Delete
	}
	m.event.User = p.user(m.source.name)
	m.event.UserID = p.id
	m.event.Body = m.kept()
	return m.event
}

// remove is apply for an event that is a deletion, whether or not it says when.
func (m *message) remove(p *profile, reason string) event.Event {
	if reason == "" {
		p.deleted = firstTime(p.deleted, m.event.ReceivedAt)
	}
	return m.apply(p, reason)
}

// profile is what a provider says of a user, in values: "" and the zero time are
// absent. The event.User made of it points into it, which saves a dozen allocations.
type profile struct {
	id, externalID, email, phone, username    string
	firstName, lastName, fullName, avatarURL  string
	userMeta, appMeta                         string
	emailVerified, phoneVerified              bool
	anonymous, banned                         bool
	emailConfirmed, phoneConfirmed            time.Time
	bannedUntil, created, updated, lastSignIn time.Time
	deleted                                   time.Time
	version                                   int64
}

func (p *profile) user(source string) *event.User {
	if !p.deleted.IsZero() {
		return &event.User{
			Source: source, ID: p.id, Version: p.version,
			ExternalID: text(&p.externalID), DeletedAt: moment(&p.deleted),
		}
	}
	return &event.User{
		Source: source, ID: p.id, Version: p.version,
		ExternalID: text(&p.externalID),
		Email:      text(&p.email), EmailVerified: p.emailVerified, EmailConfirmedAt: moment(&p.emailConfirmed),
		Phone: text(&p.phone), PhoneVerified: p.phoneVerified, PhoneConfirmedAt: moment(&p.phoneConfirmed),
		Username: text(&p.username), FirstName: text(&p.firstName), LastName: text(&p.lastName),
		FullName: text(&p.fullName), AvatarURL: text(&p.avatarURL),
		RawUserMetaData: p.userMeta, RawAppMetaData: p.appMeta,
		IsAnonymous: p.anonymous, Banned: p.banned, BannedUntil: moment(&p.bannedUntil),
		CreatedAt: moment(&p.created), UpdatedAt: moment(&p.updated), LastSignInAt: moment(&p.lastSignIn),
	}
}

func text(s *string) *string {
	if *s == "" {
		return nil
	}
	return s
}

func moment(t *time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return t
}

// joined is first and last name joined by a space, "" when there is neither.
func joined(first, last string) string {
	if first == "" || last == "" {
		return first + last
	}
	return first + " " + last
}
