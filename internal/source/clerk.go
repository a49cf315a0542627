package source

import (
	"bytes"
	"slices"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// clerkEnvelope is what surrounds the data of every Clerk event.
type clerkEnvelope struct {
	kind, instance, data []byte
	sent                 time.Time
}

func readClerkEnvelope(object []byte) clerkEnvelope {
	var e clerkEnvelope
	for w := rawjson.Into(object); ; {
		key, value, ok := w.Member()
		if !ok {
			return e
		}
		switch string(key) {
		case "type":
			e.kind = rawjson.Contents(value)
		case "instance_id":
			e.instance = rawjson.Contents(value)
		case "data":
			e.data = value
		case "timestamp":
			e.sent = envelopeTime(value)
		}
	}
}

// clerk decodes a Clerk webhook. The list of types is open, so an unknown one is
// ignored: an error would be retried for days and then disable the endpoint.
func (m *message) clerk() event.Event {
	e := readClerkEnvelope(m.object)
	e.sent = firstTime(e.sent, m.event.ReceivedAt)
	m.event.Type = m.source.known(m.endpoint, e.kind)
	switch {
	case m.object == nil:
		return m.undecodable(reasonNoObject)
	case m.source.otherInstance(e.instance) && e.example():
		return m.ignore(reasonSample)
	case m.source.otherInstance(e.instance):
		return m.ignore("the event is of another instance")
	case len(e.kind) == 0:
		return m.undecodable(reasonNoType)
	case bytes.HasPrefix(e.kind, []byte("session.")):
		return m.clerkSession(&e)
	}
	switch m.event.Type {
	case "user.created", "user.updated":
		p, reason := readClerkUser(e.data, m.event.ReceivedAt)
		return m.applyClerk(&e, p, reason)
	case "user.deleted":
		p, reason := readClerkDeleted(e)
		return m.applyClerk(&e, p, reason)
	}
	return m.ignore("events of this type are not handled")
}

// Clerk's dashboard sends the examples of its documentation, with a valid signature. These are
// the instances and the users that they name. The first instance is in many people's own tests,
// too, and the second may be real: neither alone makes an example.
var (
	exampleInstances = []string{"ins_123", "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S"}
	exampleUsers     = []string{"user_29w83sxmDNGwOuEthce5gg56FcC", "user_2g7np7Hrk0SN6kj5EDMLDaKNL0S"}
)

// exampleEmail is the address of the first user.
const exampleEmail = "example@example.org"

// example reports whether an event is of the instance of an example.
func (e *clerkEnvelope) example() bool { return slices.Contains(exampleInstances, string(e.instance)) }

// applyClerk is apply for a user who is no example. With a configured instance_id only users of
// that instance come here, and all are real. A deletion counts unless it is an example itself: so
// the user of an example that arrived earlier can be deleted.
func (m *message) applyClerk(e *clerkEnvelope, p *profile, reason string) event.Event {
	ours := len(e.instance) > 0 && m.source.instanceID != ""
	if reason != "" || ours || !p.deleted.IsZero() && !e.example() {
		return m.apply(p, reason)
	}
	if slices.Contains(exampleUsers, p.id) || p.email == exampleEmail && e.example() {
		return m.ignore(reasonSample)
	}
	return m.apply(p, reason)
}

// otherInstance lets an event pass that names no instance: it can't be told.
func (s *Source) otherInstance(id []byte) bool {
	return s.instanceID != "" && len(id) > 0 && string(id) != s.instanceID
}

// clerkSession takes the whole user that session events carry, which repairs lost
// events at each sign-in. Their bodies hold the visitor's address and device: not kept.
func (m *message) clerkSession(e *clerkEnvelope) event.Event {
	m.private = true
	user := rawjson.Member(e.data, "user")
	if len(user) == 0 || string(user) == "null" {
		return m.ignore("the session carries no user")
	}
	p, reason := readClerkUser(user, m.event.ReceivedAt)
	return m.applyClerk(e, p, reason)
}

// readClerkDeleted reads a deletion, which carries ids and no version of its own: the
// event's time stands in.
func readClerkDeleted(e clerkEnvelope) (*profile, string) {
	p, reason := readClerkUser(e.data, e.sent)
	if reason != "" {
		return nil, reason
	}
	p.version, p.deleted = e.sent.UnixMicro(), e.sent
	return p, ""
}

// clerkRefs are the parts of a user that refer to each other, in any order of keys.
type clerkRefs struct {
	emailID, phoneID []byte
	emails, phones   []byte
	userMeta         []byte
	appMeta          []byte
	deprovisioned    bool
	hasID            bool
}

// readClerkUser reads Clerk's user object: of an event, of a session, of the API. The
// second result is the reason it can't be read.
func readClerkUser(data []byte, received time.Time) (*profile, string) {
	if rawjson.Kind(data) != '{' {
		return nil, reasonNoUser
	}
	p, refs := &profile{}, clerkRefs{}
	for w := rawjson.Into(data); ; {
		key, value, ok := w.Member()
		if !ok {
			break
		}
		p.setClerk(string(key), value, &refs)
	}
	if !refs.hasID {
		return nil, reasonNoID
	}
	p.email, p.emailVerified = primary(refs.emails, refs.emailID, "email_address")
	p.phone, p.phoneVerified = primary(refs.phones, refs.phoneID, "phone_number")
	p.fullName = joined(p.firstName, p.lastName)
	p.banned = p.banned || refs.deprovisioned
	p.setMetadata(refs.userMeta, refs.appMeta)
	p.age(received)
	return p, ""
}

func (p *profile) setClerk(key string, value []byte, refs *clerkRefs) {
	switch key {
	case "id":
		p.id, refs.hasID = userID(value)
	case "external_id":
		p.externalID = rawjson.Text(value)
	case "primary_email_address_id":
		refs.emailID = rawjson.Contents(value)
	case "primary_phone_number_id":
		refs.phoneID = rawjson.Contents(value)
	case "email_addresses":
		refs.emails = value
		p.setList(&p.emails, value, "email_addresses")
	case "external_accounts":
		p.setList(&p.accounts, value, "external_accounts")
	case "phone_numbers":
		refs.phones = value
	case "username":
		p.username = rawjson.Text(value)
	case "first_name":
		p.firstName = rawjson.Text(value)
	case "last_name":
		p.lastName = rawjson.Text(value)
	case "image_url":
		p.avatarURL = rawjson.Text(value)
	default:
		p.setClerkState(key, value, refs)
	}
}

func (p *profile) setClerkState(key string, value []byte, refs *clerkRefs) {
	switch key {
	case "unsafe_metadata":
		refs.userMeta = value
	case "public_metadata":
		refs.appMeta = value
	case "banned":
		p.banned = isTrue(value)
	case "locked":
		p.locked = isTrue(value)
	case "deprovisioned":
		refs.deprovisioned = isTrue(value)
	case "created_at":
		p.setTime(&p.created, value, millisOf, "created_at")
	case "updated_at":
		p.setTime(&p.updated, value, millisOf, "updated_at")
	case "last_sign_in_at":
		p.setTime(&p.lastSignIn, value, millisOf, "last_sign_in_at")
	}
}

// primary finds the entry with the primary id and its verification. The id may be
// null, or belong to no entry: then there is no primary one, whatever comes first.
func primary(entries, id []byte, field string) (address string, verified bool) {
	if len(id) == 0 || rawjson.Kind(entries) != '[' {
		return "", false
	}
	for w := rawjson.Into(entries); ; {
		entry, ok := w.Element()
		if !ok {
			return "", false
		}
		if !bytes.Equal(rawjson.Contents(rawjson.Member(entry, "id")), id) {
			continue
		}
		address = rawjson.Text(rawjson.Member(entry, field))
		status := rawjson.Contents(rawjson.Member(rawjson.Member(entry, "verification"), "status"))
		return address, address != "" && string(status) == "verified"
	}
}
