package clerktest

import (
	"cmp"
	"time"
)

// Organization is what tests say of an organisation; the object that Clerk would send is made of it. Empty
// texts but the name and the image's address are null there.
type Organization struct {
	ID                   string
	Name, Slug           string
	ImageURL             string
	CreatedBy            string // a user's id
	RoleSetKey           string
	MaxMembers           int
	Public, Private      map[string]any // metadata
	CreatedAt, UpdatedAt time.Time      // kept in milliseconds
}

// Membership is what tests say of a user's membership of an organisation.
type Membership struct {
	ID                     string
	OrganizationID, UserID string
	Role, RoleName         string
	Permissions            []string
	Public, Private        map[string]any // metadata
	// Anonymous leaves out public_user_data, which Clerk does not require.
	Anonymous            bool
	CreatedAt, UpdatedAt time.Time // kept in milliseconds
}

// PutOrganization creates an organisation, or replaces the one with that id, and returns what is kept: with
// an id and with times where there were none.
func (c *Clerk) PutOrganization(o Organization) Organization {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.putOrganization(o)
}

func (c *Clerk) putOrganization(o Organization) Organization {
	c.fill(&o.ID, "org", &o.CreatedAt, &o.UpdatedAt)
	c.organizations.put(o.ID, o.CreatedAt, o)
	return o
}

// UpdateOrganization is Update for an organisation.
func (c *Clerk) UpdateOrganization(id string, change func(*Organization)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.organizations.change(id, func(o *Organization) {
		was := *o
		change(o)
		o.ID, o.CreatedAt, o.UpdatedAt = was.ID, was.CreatedAt, touched(was.UpdatedAt, o.UpdatedAt)
	})
}

// DeleteOrganization removes an organisation with all memberships; it reports whether there was one.
func (c *Clerk) DeleteOrganization(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleteMemberships(func(m *Membership) bool { return m.OrganizationID == id })
	return c.organizations.delete(id, c.knobs.lag)
}

// Organizations lists the organisations as they are, by creation.
func (c *Clerk) Organizations() []Organization {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.organizations.all()
}

// PutMembership creates a membership, or replaces the one with that id, and returns what is kept. Both the
// organisation and the user must be there.
func (c *Clerk) PutMembership(m Membership) Membership {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.putMembership(m)
}

func (c *Clerk) putMembership(m Membership) Membership {
	c.t.Helper()
	if c.organizations.rows[m.OrganizationID].present() == nil || c.users.rows[m.UserID].present() == nil {
		c.t.Fatalf("clerktest: a membership of %q in %q, one of which is not there", m.UserID, m.OrganizationID)
	}
	c.fill(&m.ID, "orgmem", &m.CreatedAt, &m.UpdatedAt)
	m.Role = cmp.Or(m.Role, "org:member")
	if old := c.memberships.rows[m.ID].present(); old != nil {
		c.members[old.OrganizationID]--
	}
	c.memberships.put(m.ID, m.CreatedAt, m)
	c.members[m.OrganizationID]++
	return m
}

// PutTeams creates n organisations of so many users each, who are users of the instance in turn; of both kinds
// each row is a millisecond younger than the one before, and the last is of now. It returns the ids in the
// order of creation.
func (c *Clerk) PutTeams(n, size int) (organizations, memberships []string) {
	c.t.Helper()
	users := c.Users()
	c.mu.Lock()
	defer c.mu.Unlock()
	begin, user := time.Now().Add(-time.Duration(n*size)*time.Millisecond), 0
	for range n {
		o := c.putOrganization(Organization{Name: "Example", CreatedAt: begin, UpdatedAt: begin})
		organizations = append(organizations, o.ID)
		for range size {
			begin = begin.Add(time.Millisecond)
			m := c.putMembership(Membership{OrganizationID: o.ID, UserID: users[user%len(users)].ID, CreatedAt: begin, UpdatedAt: begin})
			memberships = append(memberships, m.ID)
			user++
		}
	}
	return organizations, memberships
}

// UpdateMembership is Update for a membership.
func (c *Clerk) UpdateMembership(id string, change func(*Membership)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.memberships.change(id, func(m *Membership) {
		was := *m
		change(m)
		m.ID, m.OrganizationID, m.UserID = was.ID, was.OrganizationID, was.UserID
		m.CreatedAt, m.UpdatedAt = was.CreatedAt, touched(was.UpdatedAt, m.UpdatedAt)
	})
}

// DeleteMembership removes a membership; it reports whether there was one.
func (c *Clerk) DeleteMembership(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deleteMembership(id)
}

func (c *Clerk) deleteMembership(id string) bool {
	m := c.memberships.rows[id].present()
	if m == nil {
		return false
	}
	c.members[m.OrganizationID]--
	return c.memberships.delete(id, c.knobs.lag)
}

// deleteMemberships removes those of a user or an organisation.
func (c *Clerk) deleteMemberships(of func(*Membership) bool) {
	for _, m := range c.memberships.all() {
		if of(&m) {
			c.deleteMembership(m.ID)
		}
	}
}

// Memberships lists the memberships as they are, by creation.
func (c *Clerk) Memberships() []Membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.memberships.all()
}

// OrganizationObject is the organisation as webhooks and the API carry it, in its newest state.
func (c *Clerk) OrganizationObject(id string) []byte {
	c.t.Helper()
	return encode(c.organization(id))
}

// MembershipObject is the membership as webhooks and the API carry it, in its newest state.
func (c *Clerk) MembershipObject(id string) []byte {
	c.t.Helper()
	return encode(c.membership(id))
}

func (c *Clerk) organization(id string) object {
	c.t.Helper()
	o := last(c, &c.organizations, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.organizationObject(&o)
}

func (c *Clerk) membership(id string) object {
	c.t.Helper()
	m := last(c, &c.memberships, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.membershipObject(&m)
}

func (c *Clerk) organizationObject(o *Organization) object {
	return object{
		"object": "organization", "id": o.ID, "name": o.Name, "slug": nullable(o.Slug), "image_url": o.ImageURL, "has_image": o.ImageURL != "",
		"members_count": c.members[o.ID], "pending_invitations_count": 0, "missing_member_with_elevated_permissions": false,
		"max_allowed_memberships": o.MaxMembers, "admin_delete_enabled": true, "role_set_key": nullable(o.RoleSetKey),
		"public_metadata": metadata(o.Public), "private_metadata": metadata(o.Private), "created_by": nullable(o.CreatedBy),
		"created_at": o.CreatedAt.UnixMilli(), "updated_at": o.UpdatedAt.UnixMilli(),
	}
}

// membershipObject carries the organisation and the user as they are now, or were at the end.
func (c *Clerk) membershipObject(m *Membership) object {
	o := object{
		"object": "organization_membership", "id": m.ID, "role": m.Role, "role_name": m.RoleName, "permissions": append([]string{}, m.Permissions...),
		"public_metadata": metadata(m.Public), "private_metadata": metadata(m.Private),
		"organization": c.organizationObject(c.organizations.last(m.OrganizationID)),
		"created_at":   m.CreatedAt.UnixMilli(), "updated_at": m.UpdatedAt.UnixMilli(),
	}
	if u := c.users.last(m.UserID); !m.Anonymous {
		o["public_user_data"] = object{
			"user_id": u.ID, "identifier": u.Email, "username": nullable(u.Username), "first_name": nullable(u.FirstName), "last_name": nullable(u.LastName),
			"image_url": u.ImageURL, "has_image": u.ImageURL != "", "banned": u.Banned, "deprovisioned": false,
		}
	}
	return o
}
