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

	reasonNoOrganization   = "there is no organization object"
	reasonNoMembership     = "there is no membership object"
	reasonNoOrganizationID = "the organization has no id that is a text of at most 255 bytes"
	reasonNoMembershipID   = "the membership has no id that is a text of at most 255 bytes"
)

// Reasons why columns keep their last known value.
const (
	reasonTooDeep = "the metadata nests deeper than 200 levels"
	reasonNumbers = "the numbers of the metadata take more than 1 MiB when all their digits are written"
	reasonTime    = "a time can't be read, or lies beyond the year 9999"
	reasonText    = "a name or the address of an image is no text"
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
	m.event.User = p.user(m.source.name)
	return m.carry(p.id, &p.state)
}

// carry makes the event of what it carries: the state that it is about, and whose that is.
func (m *message) carry(userID string, about *state) event.Event {
	m.event.Op = event.Upsert
	if !about.deleted.IsZero() {
		m.event.Op = event.Delete
	}
	m.event.UserID, m.event.Body = userID, m.kept()
	return m.event
}

// remove is apply for an event that is a deletion, whether or not it says when.
func (m *message) remove(p *profile, reason string) event.Event {
	if reason == "" {
		p.deleted = cmp.Or(p.deleted, m.event.ReceivedAt)
	}
	return m.apply(p, reason)
}

// state is what a provider says of every kind of row, in values: "" and the zero time are absent. The records
// made of it point into it, which saves a dozen allocations for a user.
type state struct {
	id               string
	created, updated time.Time
	deleted          time.Time
	version          int64
	// kept are columns of which the provider says nothing that can be used, and why.
	kept        []string
	keptBecause string
}

// keep notes that columns keep their last known value for a reason, if there is one.
func (s *state) keep(reason string, columns ...string) {
	if reason != "" {
		s.kept, s.keptBecause = append(s.kept, columns...), reason
	}
}

// time reads the time of a column in one of the forms of the providers.
func (s *state) time(from *rawjson.Picked, column string, read func([]byte) (time.Time, bool)) time.Time {
	at, ok := read(from.Get(column))
	if !ok {
		s.keep(reasonTime, column)
	}
	return at
}

// text reads the text of a column.
func (s *state) text(from *rawjson.Picked, column string) string {
	if kind := rawjson.Kind(from.Get(column)); kind != '"' && kind != 'n' && kind != 0 {
		s.keep(reasonText, column)
	}
	return from.Text(column)
}

// age sets the version, which is the provider's updated_at, or where there is none the time of
// creation. One that can't be used must not keep the row from changing: then it is the moment
// of receipt.
func (s *state) age(received time.Time) {
	if slices.Contains(s.kept, "updated_at") {
		s.updated = received
	}
	if v := cmp.Or(s.updated, s.created); !v.IsZero() {
		s.version = v.UnixMicro()
	}
}

// row is what the records of every roll have. A tombstone keeps no columns.
func (s *state) row(source string) event.Row {
	if !s.deleted.IsZero() {
		return event.Row{Source: source, ID: s.id, Version: s.version, DeletedAt: moment(&s.deleted)}
	}
	slices.Sort(s.kept)
	return event.Row{Source: source, ID: s.id, Version: s.version, Kept: s.kept, KeptBecause: s.keptBecause}
}

// profile is what a provider says of a user.
type profile struct {
	state
	externalID, email, phone, username       string
	firstName, lastName, fullName, avatarURL string
	userMeta, appMeta                        string
	emails, accounts                         string
	emailVerified, phoneVerified             bool
	anonymous, sso, locked, banned           bool
	emailConfirmed, phoneConfirmed           time.Time
	bannedUntil, lastSignIn, invited         time.Time
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
	list, reason := documentOf(listRedaction.apply(value))
	p.keep(reason, column)
	return list
}

func (p *profile) user(source string) *event.User {
	row := p.row(source)
	if row.Dead() {
		return &event.User{Row: row, ExternalID: text(&p.externalID)}
	}
	return &event.User{
		Row:        row,
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
