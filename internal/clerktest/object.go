package clerktest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// User is what tests say of a user; the object that Clerk would send is made of it.
// Empty texts are null there.
type User struct {
	ID                                 string
	ExternalID                         string
	Username, FirstName, LastName      string
	Email, Phone                       string
	Unverified                         bool // of both addresses
	ImageURL                           string
	Banned                             bool
	Public, Unsafe, Private            map[string]any // metadata
	CreatedAt, UpdatedAt, LastSignInAt time.Time      // kept in milliseconds
}

type object = map[string]any

// Object is the user as webhooks and the API carry it, in its newest state; of one that
// was deleted it is the last one.
func (c *Clerk) Object(id string) []byte {
	c.t.Helper()
	u := last(c, &c.users, id)
	return encode(u.object())
}

// Event is the body of a webhook about a user, an organisation or a membership: created, updated and
// deleted, and the events of sessions, which carry the whole user.
func (c *Clerk) Event(kind, id string) []byte {
	c.t.Helper()
	return encode(object{
		"object": "event", "type": kind, "data": c.data(kind, id),
		"timestamp": time.Now().UnixMilli(), "instance_id": c.instance,
	})
}

// data is what an event carries.
func (c *Clerk) data(kind, id string) object {
	c.t.Helper()
	switch {
	case kind == "user.deleted":
		return object{"object": "user", "id": id, "external_id": nullable(last(c, &c.users, id).ExternalID), "deleted": true}
	case kind == "organization.deleted":
		return object{"object": "organization", "id": id, "slug": nullable(last(c, &c.organizations, id).Slug), "deleted": true}
	case strings.HasPrefix(kind, "organizationMembership."):
		return c.membership(id)
	case strings.HasPrefix(kind, "organization."):
		return c.organization(id)
	}
	u := last(c, &c.users, id)
	if strings.HasPrefix(kind, "session.") {
		return object{"object": "session", "id": "sess" + strings.TrimPrefix(u.ID, "user"), "user_id": u.ID, "status": "active", "user": u.object()}
	}
	return u.object()
}

func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("clerktest: metadata that is no JSON: %v", err))
	}
	return text
}

func (u *User) object() object {
	o := object{
		"object": "user", "id": u.ID, "external_id": nullable(u.ExternalID),
		"username": nullable(u.Username), "first_name": nullable(u.FirstName), "last_name": nullable(u.LastName),
		"image_url": u.ImageURL, "has_image": u.ImageURL != "", "locale": nil,
		"public_metadata": metadata(u.Public), "unsafe_metadata": metadata(u.Unsafe), "private_metadata": metadata(u.Private),
		"web3_wallets": []object{}, "passkeys": []object{}, "external_accounts": []object{}, "enterprise_accounts": []object{},
		"password_enabled": true, "two_factor_enabled": false, "totp_enabled": false, "backup_code_enabled": false,
		"banned": u.Banned, "locked": false, "deprovisioned": false, "delete_self_enabled": true,
		"created_at": u.CreatedAt.UnixMilli(), "updated_at": u.UpdatedAt.UnixMilli(),
		"last_sign_in_at": nil, "last_active_at": u.UpdatedAt.Truncate(24 * time.Hour).UnixMilli(),
	}
	if !u.LastSignInAt.IsZero() {
		o["last_sign_in_at"] = u.LastSignInAt.UnixMilli()
	}
	o["email_addresses"], o["primary_email_address_id"] = u.addresses("email_address", u.Email)
	o["phone_numbers"], o["primary_phone_number_id"] = u.addresses("phone_number", u.Phone)
	return o
}

// addresses are the entries of one kind. The primary one stands last, behind one that is
// not verified: code that takes the first one is wrong.
func (u *User) addresses(kind, primary string) (entries []object, id any) {
	if primary == "" {
		return []object{}, nil
	}
	entry := func(number int, address, status string) object {
		return object{
			"object": kind, "id": fmt.Sprintf("idn_%s_%s_%d", kind, strings.TrimPrefix(u.ID, "user_"), number), kind: address,
			"reserved": false, "linked_to": []object{},
			"verification": object{"status": status, "strategy": "email_code", "attempts": 1, "expire_at": u.CreatedAt.UnixMilli()},
			"created_at":   u.CreatedAt.UnixMilli(), "updated_at": u.CreatedAt.UnixMilli(),
		}
	}
	status := "verified"
	if u.Unverified {
		status = "unverified"
	}
	entries = []object{entry(1, "second-"+primary, "unverified"), entry(2, primary, status)}
	return entries, entries[1]["id"]
}

func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func metadata(m map[string]any) map[string]any {
	if m == nil {
		return object{}
	}
	return m
}
