package source

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// changeTypes maps the operations of a database webhook to event types.
var changeTypes = map[string]string{
	"INSERT": "database.insert", "UPDATE": "database.update", "DELETE": "database.delete",
}

// rowChange is the body of a database webhook.
type rowChange struct {
	operation, schema, table string
	record, old              []byte
}

func readRowChange(object []byte) rowChange {
	var c rowChange
	for w := rawjson.Into(object); ; {
		key, value, ok := w.Member()
		if !ok {
			return c
		}
		switch string(key) {
		case "type":
			c.operation = rawjson.Text(value)
		case "schema":
			c.schema = rawjson.Text(value)
		case "table":
			c.table = rawjson.Text(value)
		case "record":
			c.record = value
		case "old_record":
			c.old = value
		}
	}
}

// database decodes a database webhook on auth.users.
func (m *message) database() event.Event {
	c := readRowChange(m.object)
	known, handled := changeTypes[c.operation]
	if handled {
		m.event.Type = known
	}
	switch {
	case m.object == nil:
		return m.undecodable(reasonNoObject)
	case c.operation == "":
		return m.undecodable(reasonNoType)
	case !handled:
		return m.ignore("operations of this kind are not handled")
	case c.schema != "auth" || c.table != "users":
		return m.ignore("the change is of another table than auth.users")
	case c.operation == "DELETE":
		return m.remove(readSupabaseUser(c.old, m.event.ReceivedAt))
	}
	return m.apply(readSupabaseUser(c.record, m.event.ReceivedAt))
}

// DecodeUser decodes a user given as a JSON object: a row of auth.users, as to_jsonb makes
// it, or a user of Clerk's API, which comes out as if an event had carried it. A
// soft-deleted row is a tombstone. Bans are judged at receivedAt. The error holds nothing
// of the object.
func (s *Source) DecodeUser(object []byte, receivedAt time.Time) (*event.User, error) {
	object = rawjson.Object(rawjson.ToUTF8(object))
	reason := reasonNoObject
	var p *profile
	switch {
	case object == nil:
	case s.provider == Clerk:
		p, reason = readClerkUser(object, s.at(receivedAt))
	default:
		p, reason = readSupabaseUser(object, s.at(receivedAt))
	}
	if reason != "" {
		return nil, fmt.Errorf("decode a user of source %s: %w", s.name, errors.New(reason))
	}
	return p.user(s.name), nil
}

// readSupabaseUser reads a user in either of Supabase's spellings: as the auth server
// writes it (user_metadata) and as the row has it (raw_user_meta_data). The second
// result is the reason it can't be read.
func readSupabaseUser(data []byte, received time.Time) (*profile, string) {
	if rawjson.Kind(data) != '{' {
		return nil, reasonNoUser
	}
	p, hasID := &profile{}, false
	var userMeta, appMeta []byte
	for w := rawjson.Into(data); ; {
		key, value, ok := w.Member()
		if !ok {
			break
		}
		switch string(key) {
		case "id":
			p.id, hasID = userID(value)
		case "user_metadata", "raw_user_meta_data":
			userMeta = value
		case "app_metadata", "raw_app_meta_data":
			appMeta = value
		default:
			p.setSupabase(string(key), value)
		}
	}
	if !hasID {
		return nil, reasonNoID
	}
	p.emailVerified = !p.emailConfirmed.IsZero()
	p.phoneVerified = !p.phoneConfirmed.IsZero()
	p.banned = p.bannedUntil.After(received)
	if slices.Contains(p.kept, "banned_until") {
		p.judge(reasonTime, "banned_until", "banned")
	}
	p.setMetadata(userMeta, appMeta)
	p.setNames(userMeta)
	p.updated = firstTime(p.updated, p.created, time.Unix(0, 0).UTC())
	p.age(received)
	return p, ""
}

func (p *profile) setSupabase(key string, value []byte) {
	switch key {
	case "email":
		p.email = rawjson.Text(value)
	case "phone":
		p.phone = rawjson.Text(value)
	case "is_anonymous":
		p.anonymous = isTrue(value)
	case "is_sso_user":
		p.sso = isTrue(value)
	case "invited_at":
		p.invited, _ = timeOf(value)
	case "email_confirmed_at":
		p.emailConfirmed, _ = timeOf(value) // what can't be read proves nothing
	case "phone_confirmed_at":
		p.phoneConfirmed, _ = timeOf(value)
	case "banned_until":
		p.setTime(&p.bannedUntil, value, timeOf, "banned_until")
	case "created_at":
		p.setTime(&p.created, value, timeOf, "created_at")
	case "updated_at":
		p.setTime(&p.updated, value, versionOf, "updated_at")
	case "last_sign_in_at":
		p.setTime(&p.lastSignIn, value, timeOf, "last_sign_in_at")
	case "deleted_at":
		p.deleted, _ = timeOf(value)
	}
}

// nameKeys are the metadata keys that name a user. The sign-up form writes some, each
// OAuth provider others.
var nameKeys = [...]string{
	"username", "user_name", "preferred_username",
	"first_name", "given_name", "last_name", "family_name",
	"full_name", "name", "avatar_url", "picture",
}

// namesInMetadata are the columns that setNames sets.
var namesInMetadata = []string{"username", "first_name", "last_name", "full_name", "avatar_url"}

// setNames picks the names out of the metadata, which the client writes: a value that
// is no text, or an empty one, is absent, and the next key is asked, last those of
// custom_claims, where Keycloak puts the names. If the metadata keeps its value, so do the names.
func (p *profile) setNames(metadata []byte) {
	if slices.Contains(p.kept, "raw_user_meta_data") {
		p.judge(p.keptBecause, namesInMetadata...)
		return
	}
	names, custom := pickNames(metadata)
	further := [len(nameKeys)]string{}
	if custom != nil {
		further, _ = pickNames(custom)
	}
	first := func(from, to int) string { return cmp.Or(firstText(names[from:to]), firstText(further[from:to])) }
	p.username = first(0, 3)
	p.firstName = first(3, 5)
	p.lastName = first(5, 7)
	p.fullName = first(7, 9)
	p.avatarURL = first(9, 11)
	if p.fullName == "" {
		p.fullName = joined(p.firstName, p.lastName)
	}
}

// pickNames returns the values of nameKeys in an object, and its custom_claims.
func pickNames(object []byte) (names [len(nameKeys)]string, custom []byte) {
	if rawjson.Kind(object) != '{' {
		return names, nil
	}
	for w := rawjson.Into(object); ; {
		key, value, ok := w.Member()
		if !ok {
			return names, custom
		}
		if string(key) == "custom_claims" {
			custom = value
		}
		for i, name := range nameKeys {
			if string(key) == name {
				names[i] = rawjson.Text(value)
			}
			if name == "preferred_username" && strings.Contains(names[i], "@") {
				names[i] = "" // Azure has an e-mail address there
			}
		}
	}
}

func firstText(texts []string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}
