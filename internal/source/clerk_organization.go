package source

import (
	"fmt"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// clerkOrganization decodes an event about an organisation. A deletion carries nothing but ids: the
// event's time stands in for the version.
func (m *message) clerkOrganization(e *clerkEnvelope) event.Event {
	o, reason := readOrganization(e.data, m.event.ReceivedAt)
	if reason != "" {
		return m.undecodable(reason)
	}
	if m.event.Type == "organization.deleted" {
		o.version, o.deleted = e.sent.UnixMicro(), e.sent
	}
	if m.sample(e, &o.state, o.id) {
		return m.ignore(reasonSample)
	}
	m.event.Organization = o.record(m.source.name)
	return m.carry("", &o.state)
}

// clerkMembership decodes an event about a membership, which carries the whole organisation as well. So does
// a deletion, with the version that the membership had. What is said of the user has no version: only the
// id is read.
func (m *message) clerkMembership(e *clerkEnvelope) event.Event {
	p, reason := readMembership(e.data, m.event.ReceivedAt)
	if reason != "" {
		return m.undecodable(reason)
	}
	if m.event.Type == "organizationMembership.deleted" {
		p.deleted = e.sent
	}
	if m.sample(e, &p.state, p.id, p.organization.id, p.userID) {
		return m.ignore(reasonSample)
	}
	m.event.Membership = p.record(m.source.name)
	m.event.Organization = p.organization.record(m.source.name)
	return m.carry(p.userID, &p.state)
}

// organization is what Clerk says of an organisation.
type organization struct {
	state
	name, slug, imageURL  string
	metadata              string
	createdBy, roleSetKey string
	mostMembers           *int64
}

var organizationMembers = []string{
	"id", "name", "slug", "image_url", "public_metadata", "max_allowed_memberships", "created_by", "role_set_key",
	"created_at", "updated_at",
}

// readOrganization reads Clerk's organisation: of an event, of a membership, of the API. The second result
// is the reason it can't be read.
func readOrganization(data []byte, received time.Time) (*organization, string) {
	if rawjson.Kind(data) != '{' {
		return nil, reasonNoOrganization
	}
	from := rawjson.Pick(data, organizationMembers)
	id, ok := validID(from.Get("id"))
	if !ok {
		return nil, reasonNoOrganizationID
	}
	o := &organization{state: state{id: id}, slug: from.Text("slug"), roleSetKey: from.Text("role_set_key")}
	if by, ok := validID(from.Get("created_by")); ok {
		o.createdBy = by
	}
	if most, ok := rawjson.Integer(from.Get("max_allowed_memberships")); ok && most >= 0 && most < 1e15 { // Integer's limit
		o.mostMembers = &most
	}
	o.name = o.text(&from, "name")
	o.imageURL = o.text(&from, "image_url")
	o.created = o.time(&from, "created_at", millisOf)
	o.readCommon(&from, &o.metadata, received)
	return o, ""
}

// readCommon reads what organisations and memberships have in common, and sets the version.
func (s *state) readCommon(from *rawjson.Picked, metadata *string, received time.Time) {
	var reason string
	*metadata, reason = metadataOf(from.Get("public_metadata"))
	s.keep(reason, "raw_public_metadata")
	s.updated = s.time(from, "updated_at", millisOf)
	s.age(received)
}

func (o *organization) record(source string) *event.Organization {
	row := o.row(source)
	if row.Dead() {
		return &event.Organization{Row: row}
	}
	return &event.Organization{
		Row: row, Name: text(&o.name), Slug: text(&o.slug), ImageURL: text(&o.imageURL), RawPublicMetadata: o.metadata,
		MaxAllowedMemberships: o.mostMembers, CreatedBy: text(&o.createdBy), RoleSetKey: text(&o.roleSetKey),
		CreatedAt: moment(&o.created), UpdatedAt: moment(&o.updated),
	}
}

// membership is what Clerk says of a membership.
type membership struct {
	state
	organization   *organization
	userID         string
	role, roleName string
	permissions    string
	metadata       string
}

var membershipMembers = []string{
	"id", "role", "role_name", "permissions", "public_metadata", "organization", "public_user_data", "created_at", "updated_at",
}

// readMembership reads Clerk's membership: of an event, of the API. The second result is the reason it
// can't be read.
func readMembership(data []byte, received time.Time) (*membership, string) {
	if rawjson.Kind(data) != '{' {
		return nil, reasonNoMembership
	}
	from := rawjson.Pick(data, membershipMembers)
	id, ok := validID(from.Get("id"))
	if !ok {
		return nil, reasonNoMembershipID
	}
	userID, ok := validID(rawjson.Member(from.Get("public_user_data"), "user_id"))
	if !ok {
		return nil, reasonNoID
	}
	in, reason := readOrganization(from.Get("organization"), received)
	if reason != "" {
		return nil, reason
	}
	m := &membership{
		state: state{id: id}, organization: in, userID: userID, role: from.Text("role"), roleName: from.Text("role_name"),
		permissions: textsOf(from.Get("permissions")),
	}
	// It tells the lives of a membership apart, so that no earlier value may stand in for one that can't be read.
	m.created, _ = millisOf(from.Get("created_at"))
	m.readCommon(&from, &m.metadata, received)
	return m, ""
}

func (m *membership) record(source string) *event.Membership {
	row := m.row(source)
	if row.Dead() {
		return &event.Membership{Row: row, OrganizationID: &m.organization.id, UserID: &m.userID, CreatedAt: moment(&m.created)}
	}
	return &event.Membership{
		Row: row, OrganizationID: &m.organization.id, UserID: &m.userID, Role: text(&m.role), RoleName: text(&m.roleName),
		Permissions: m.permissions, RawPublicMetadata: m.metadata, CreatedAt: moment(&m.created), UpdatedAt: moment(&m.updated),
	}
}

// textsOf returns the texts of a list as a JSON array that jsonb accepts. What is no text is left out.
func textsOf(list []byte) string {
	texts := []byte{'['}
	for w := rawjson.Into(list); rawjson.Kind(list) == '['; {
		value, ok := w.Element()
		if !ok {
			break
		}
		if rawjson.Kind(value) != '"' {
			continue
		}
		if repaired := repairString(value); repaired != nil {
			value = repaired
		}
		if len(texts) > 1 {
			texts = append(texts, ',')
		}
		texts = append(texts, value...)
	}
	return string(append(texts, ']'))
}

// DecodeOrganization is DecodeUser for an organisation of Clerk's API.
func (s *Source) DecodeOrganization(object []byte, receivedAt time.Time) (*event.Organization, error) {
	o, reason := readOrganization(rawjson.Object(rawjson.ToUTF8(object)), s.at(receivedAt))
	if reason != "" {
		return nil, fmt.Errorf("decode an organization of source %s: %s", s.name, reason)
	}
	return o.record(s.name), nil
}

// DecodeMembership is DecodeUser for a membership of Clerk's API, with the organisation that it carries.
func (s *Source) DecodeMembership(object []byte, receivedAt time.Time) (*event.Membership, *event.Organization, error) {
	m, reason := readMembership(rawjson.Object(rawjson.ToUTF8(object)), s.at(receivedAt))
	if reason != "" {
		return nil, nil, fmt.Errorf("decode a membership of source %s: %s", s.name, reason)
	}
	return m.record(s.name), m.organization.record(s.name), nil
}
