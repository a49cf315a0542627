package source

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// Reasons of events that can't be read. They are all constants: no value of a body may
// reach a log.
const (
	reasonNoObject = "the body is not a JSON object"
	reasonNoType   = "the event has no type"
	reasonNoUser   = "there is no user object"
	reasonSample   = "sample"
	reasonNoID     = "the user has no id that is a text of at most 255 bytes"
)

// Reasons why columns keep their last known value.
const (
	reasonTooDeep = "the metadata nests deeper than 200 levels"
	reasonNumbers = "the numbers of the metadata take more than 1 MiB when all their digits are written"
	reasonTime    = "a time can't be read, or lies beyond the year 9999"
)

// message is a request on its way to becoming an event.
type message struct {
	source   *Source
	endpoint Endpoint
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
	m := &message{source: s, endpoint: r.Endpoint, body: rawjson.ToUTF8(r.Body), compression: compression(r)}
	m.object = rawjson.Object(m.body)
	m.event = event.Event{Source: s.name, Type: Other, ReceivedAt: s.at(r.ReceivedAt)}
	if r.Endpoint == Database {
		// Database webhooks have no id. Must can't panic: crypto/rand never fails.
		m.event.ID = uuid.Must(uuid.NewV7()).String()
	} else {
		m.event.ID = s.eventID(r.Header)
	}
	return m
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
	m.event.Op, m.event.UserID, m.event.Body = event.Announce, id, m.kept()
	return m.event
}

// apply makes the event that brings a user into the roll, or takes them out of it.
func (m *message) apply(p *profile, reason string) event.Event {
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
		p.deleted = cmp.Or(p.deleted, m.event.ReceivedAt)
	}
	return m.apply(p, reason)
}

// profile is what a provider says of a user, in values: "" and the zero time are
// absent. The event.User made of it points into it, which saves a dozen allocations.
type profile struct {
	id, externalID, email, phone, username    string
	firstName, lastName, fullName, avatarURL  string
	userMeta, appMeta                         string
	emails, accounts                          string
	emailVerified, phoneVerified              bool
	anonymous, sso, locked, banned            bool
	emailConfirmed, phoneConfirmed            time.Time
	bannedUntil, created, updated, lastSignIn time.Time
	invited                                   time.Time
	deleted                                   time.Time
	version                                   int64
	// kept are columns of which the provider says nothing that can be used, and why.
	kept        []string
	keptBecause string
}

// keep notes that columns keep their last known value for a reason, if there is one.
func (p *profile) keep(reason string, columns ...string) {
	if reason != "" {
		p.kept, p.keptBecause = append(p.kept, columns...), reason
	}
}

// setMetadata sets both metadata columns, of absent values to {}.
func (p *profile) setMetadata(userMeta, appMeta []byte) {
	var reason string
	p.userMeta, reason = metadataOf(userMeta)
	p.keep(reason, "raw_user_meta_data")
	p.appMeta, reason = metadataOf(appMeta)
	p.keep(reason, "raw_app_meta_data")
}

// list returns the JSON array of a column without its secret members; "" when there is no array.
func (p *profile) list(user *rawjson.Picked, column string) string {
	value := user.Get(column)
	if rawjson.Kind(value) != '[' {
		return ""
	}
	list, reason := documentOf(salvageRedaction.apply(value))
	p.keep(reason, column)
	return list
}

// time reads the time of a column in one of the forms of the providers.
func (p *profile) time(user *rawjson.Picked, column string, read func([]byte) (time.Time, bool)) time.Time {
	at, ok := read(user.Get(column))
	if !ok {
		p.keep(reasonTime, column)
	}
	return at
}

// age sets the version, which is the provider's updated_at, or where there is none the time of
// creation. One that can't be used must not keep the user from changing: then it is the moment
// of receipt.
func (p *profile) age(received time.Time) {
	if slices.Contains(p.kept, "updated_at") {
		p.updated = received
	}
	if v := cmp.Or(p.updated, p.created); !v.IsZero() {
		p.version = v.UnixMicro()
	}
}

func (p *profile) user(source string) *event.User {
	slices.Sort(p.kept)
	if !p.deleted.IsZero() {
		return &event.User{
			Row:        event.Row{Source: source, ID: p.id, Version: p.version, DeletedAt: moment(&p.deleted)},
			ExternalID: text(&p.externalID),
		}
	}
	return &event.User{
		Row:        event.Row{Source: source, ID: p.id, Version: p.version, Kept: p.kept, KeptBecause: p.keptBecause},
		ExternalID: text(&p.externalID),
		Email:      text(&p.email), EmailVerified: p.emailVerified, EmailConfirmedAt: moment(&p.emailConfirmed),
		Phone: text(&p.phone), PhoneVerified: p.phoneVerified, PhoneConfirmedAt: moment(&p.phoneConfirmed),
		Username: text(&p.username), FirstName: text(&p.firstName), LastName: text(&p.lastName),
		FullName: text(&p.fullName), AvatarURL: text(&p.avatarURL),
		RawUserMetaData: p.userMeta, RawAppMetaData: p.appMeta,
		EmailAddresses: p.emails, ExternalAccounts: p.accounts,
		IsAnonymous: p.anonymous, IsSSOUser: p.sso, Locked: p.locked,
		Banned: p.banned, BannedUntil: moment(&p.bannedUntil), InvitedAt: moment(&p.invited),
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
