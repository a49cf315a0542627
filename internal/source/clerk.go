package source

import (
	"bytes"
	"cmp"
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

var clerkEnvelopeMembers = []string{"type", "instance_id", "data", "timestamp"}

func readClerkEnvelope(object []byte) clerkEnvelope {
	e := rawjson.Pick(object, clerkEnvelopeMembers)
	return clerkEnvelope{
		kind: rawjson.Contents(e.Get("type")), instance: rawjson.Contents(e.Get("instance_id")),
		data: e.Get("data"), sent: envelopeTime(e.Get("timestamp")),
	}
}

// clerk decodes a Clerk webhook. The list of types is open, so an unknown one is
// ignored: an error would be retried for days and then disable the endpoint.
func (m *message) clerk() event.Event {
	e := readClerkEnvelope(m.object)
	e.sent = cmp.Or(e.sent, m.event.ReceivedAt)
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
	case "organization.created", "organization.updated", "organization.deleted":
		return m.clerkOrganization(&e)
	case "organizationMembership.created", "organizationMembership.updated", "organizationMembership.deleted":
		return m.clerkMembership(&e)
	}
	return m.ignore("events of this type are not handled")
}

// Clerk's dashboard sends the examples of its documentation, with a valid signature. These are
// the instances that they name, and the users, organisations and memberships. The first instance is in
// many people's own tests, too, and the second may be real: neither alone makes an example.
var (
	exampleInstances = []string{"ins_123", "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S"}
	exampleIDs       = []string{
		"user_29w83sxmDNGwOuEthce5gg56FcC", "user_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "user_2h8op3Isl1QR7tKu5FGNfaLKEoU",
		"org_29w9IfBrPmcpi0IeBVaKtA7R94W", "org_2g7np7Hrk0SN6kj5EDMLDaKNL0S",
		"orgmem_29w9IptNja3mP8GDXpquBwN2qR9", "orgmem_2g7np7Hrk0SN6kj5EDMLDaKNL0S",
	}
)

// exampleEmail is the address of the first user.
const exampleEmail = "example@example.org"

// example reports whether an event is of the instance of an example.
func (e *clerkEnvelope) example() bool { return slices.Contains(exampleInstances, string(e.instance)) }

// applyClerk is apply for a user who is no example.
func (m *message) applyClerk(e *clerkEnvelope, p *profile, reason string) event.Event {
	if reason == "" && (m.sample(e, &p.state, p.id) || p.email == exampleEmail && e.example() && !m.ours(e)) {
		return m.ignore(reasonSample)
	}
	return m.apply(p, reason)
}

// sample reports whether what an event is about is an example: one of its ids is. A deletion counts unless
// it is an example itself: so what an example brought earlier can be deleted.
func (m *message) sample(e *clerkEnvelope, about *state, ids ...string) bool {
	if m.ours(e) || !about.deleted.IsZero() && !e.example() {
		return false
	}
	return slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(exampleIDs, id) })
}

// ours reports whether an event is of the configured instance, of which all is real.
func (m *message) ours(e *clerkEnvelope) bool {
	return len(e.instance) > 0 && m.source.instanceID != ""
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

// clerkMembers are the members of Clerk's user object that are read.
var clerkMembers = []string{
	"id", "external_id", "username", "first_name", "last_name", "image_url", "banned", "deprovisioned", "locked",
	"primary_email_address_id", "email_addresses", "primary_phone_number_id", "phone_numbers", "external_accounts",
	"unsafe_metadata", "public_metadata", "created_at", "updated_at", "last_sign_in_at",
}

// readClerkUser reads Clerk's user object: of an event, of a session, of the API. The
// second result is the reason it can't be read.
func readClerkUser(data []byte, received time.Time) (*profile, string) {
	if rawjson.Kind(data) != '{' {
		return nil, reasonNoUser
	}
	user := rawjson.Pick(data, clerkMembers)
	id, ok := validID(user.Get("id"))
	if !ok {
		return nil, reasonNoID
	}
	p := &profile{
		state: state{id: id}, externalID: user.Text("external_id"), username: user.Text("username"), avatarURL: user.Text("image_url"),
		firstName: user.Text("first_name"), lastName: user.Text("last_name"),
		banned: isTrue(user.Get("banned")) || isTrue(user.Get("deprovisioned")), locked: isTrue(user.Get("locked")),
	}
	p.email, p.emailVerified = primary(user.Get("email_addresses"), user.Get("primary_email_address_id"), "email_address")
	p.phone, p.phoneVerified = primary(user.Get("phone_numbers"), user.Get("primary_phone_number_id"), "phone_number")
	p.fullName = joined(p.firstName, p.lastName)
	p.emails = p.list(&user, "email_addresses")
	p.accounts = p.list(&user, "external_accounts")
	p.created = p.time(&user, "created_at", millisOf)
	p.updated = p.time(&user, "updated_at", millisOf)
	p.lastSignIn = p.time(&user, "last_sign_in_at", millisOf)
	p.setMetadata(user.Get("unsafe_metadata"), user.Get("public_metadata"))
	p.age(received)
	return p, ""
}

// primary finds the entry with the primary id and its verification. The id may be
// null, or belong to no entry: then there is no primary one, whatever comes first.
func primary(entries, id []byte, field string) (address string, verified bool) {
	id = rawjson.Contents(id)
	if len(id) == 0 || rawjson.Kind(entries) != '[' {
		return "", false
	}
	members := []string{"id", field, "verification"}
	for w := rawjson.Into(entries); ; {
		object, ok := w.Element()
		if !ok {
			return "", false
		}
		entry := rawjson.Pick(object, members)
		if !bytes.Equal(rawjson.Contents(entry.Get("id")), id) {
			continue
		}
		address = entry.Text(field)
		status := rawjson.Contents(rawjson.Member(entry.Get("verification"), "status"))
		return address, address != "" && string(status) == "verified"
	}
}
