package source

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// The hooks of Supabase Auth, as metadata.name spells them.
const (
	hookBefore   = "before-user-created"
	hookAfter    = "after-user-created"
	hookToken    = "customize-access-token"
	hookMFA      = "mfa-verification"
	hookPassword = "password-verification"
	hookEmail    = "send-email"
	hookSMS      = "send-sms"
)

// What the hooks that nobody handles need to hear, so that pointing one here by
// mistake doesn't stop logins. Supabase takes a 200 with an error object as a refusal.
const (
	replyContinue    = `{"decision":"continue"}`
	replySendNothing = `{"error":{"http_code":501,"message":"Rollcall sends nothing: turn this hook off, or point it at the service that sends"}}`
)

// supabaseHook is the body of an auth hook.
type supabaseHook struct {
	id, name     string
	user, claims []byte
}

var hookMembers = []string{"metadata", "user", "claims"}

func readSupabaseHook(object []byte) supabaseHook {
	hook := rawjson.Pick(object, hookMembers)
	metadata := hook.Get("metadata")
	return supabaseHook{
		id: messageID(rawjson.Member(metadata, "uuid")), name: hookName(rawjson.Text(rawjson.Member(metadata, "name"))),
		user: hook.Get("user"), claims: hook.Get("claims"),
	}
}

// hookByShape names a hook by the members of its body: auth servers of 2024 send no metadata.
// The hooks of user creation are younger. It is "" where no shape fits.
func hookByShape(object []byte) string {
	has := func(name string, kinds string) bool {
		k := rawjson.Kind(rawjson.Member(object, name))
		return k != 0 && strings.IndexByte(kinds, k) >= 0
	}
	switch {
	case has("user", "{") && has("sms", "{"):
		return hookSMS
	case has("user", "{") && has("email_data", "{"):
		return hookEmail
	case !has("user_id", `"`):
		return ""
	case has("claims", "{") && has("authentication_method", `"`):
		return hookToken
	case has("valid", "tf") && has("factor_id", `"`):
		return hookMFA
	case has("valid", "tf"):
		return hookPassword
	}
	return ""
}

// hookName maps the spellings of the hooks' paths to those of metadata.name.
func hookName(name string) string {
	switch base := strings.TrimSuffix(name, "-attempt"); {
	case name == "custom-access-token":
		return hookToken
	case base == hookMFA, base == hookPassword:
		return base
	}
	return name
}

// supabase decodes an auth hook. Where there is metadata, only its name tells which one it
// is, and only its uuid stays the same over the attempts: the Webhook-Id is new at each.
func (m *message) supabase() event.Event {
	h := readSupabaseHook(m.object)
	if h.name == "" {
		h.name = hookByShape(m.object)
	}
	m.event.Type = m.source.known(m.endpoint, []byte(h.name))
	if h.id != "" {
		m.event.ID = h.id
	}
	switch h.name {
	case "":
		if m.object == nil {
			return m.undecodable(reasonNoObject)
		}
		return m.undecodable(reasonNoType)
	case hookBefore:
		return m.supabaseAnnounced(h.user)
	case hookAfter:
		return m.apply(readSupabaseUser(h.user, m.event.ReceivedAt))
	case hookToken:
		return m.supabaseClaims(h.claims)
	case hookMFA, hookPassword:
		return m.answer([]byte(replyContinue), "this hook is not handled: the sender was told to continue")
	case hookEmail, hookSMS:
		return m.answer([]byte(replySendNothing), "this hook is not handled: Rollcall sends no messages")
	}
	return m.ignore("hooks of this name are not handled")
}

// supabaseAnnounced takes nothing but the id: the user doesn't exist yet, may never,
// and after an OAuth sign-up will exist under another id.
func (m *message) supabaseAnnounced(user []byte) event.Event {
	if rawjson.Kind(user) != '{' {
		return m.undecodable(reasonNoUser)
	}
	id, ok := validID(rawjson.Member(user, "id"))
	if !ok {
		return m.undecodable(reasonNoID)
	}
	return m.announce(id)
}

// Announced is the user that an announcement is about, as far as there is one yet: the id may become another, and no
// time is set. Of an announcement that can't be read it has the contact.
func (s *Source) Announced(r Request) *event.User {
	user := readSupabaseHook(rawjson.Object(rawjson.ToUTF8(r.Body))).user
	p, reason := readSupabaseUser(user, s.at(r.ReceivedAt))
	if reason != "" {
		p = &profile{}
		p.email, p.phone = contact(user)
	}
	p.deleted = time.Time{} // who does not exist yet can't be
	return p.user(s.name)
}

// Announces reports whether an event asks whether a user may sign up, even where it can't be read.
func Announces(e *event.Event) bool {
	return e.Op == event.Announce || e.Op == event.Undecodable && e.Type == hookBefore
}

// Contact returns by what else than the announced id a user can be known, from the kept body
// of the announcement; "" where that says nothing.
func Contact(body []byte) (email, phone string) {
	return contact(readSupabaseHook(rawjson.Object(rawjson.ToUTF8(body))).user)
}

func contact(user []byte) (email, phone string) {
	if rawjson.Kind(user) != '{' {
		return "", ""
	}
	return rawjson.Text(rawjson.Member(user, "email")), rawjson.Text(rawjson.Member(user, "phone"))
}

// supabaseClaims gives the claims back byte for byte: any other answer changes the
// token or fails the login.
func (m *message) supabaseClaims(claims []byte) event.Event {
	if rawjson.Kind(claims) != '{' {
		return m.ignore("the hook carries no claims to give back")
	}
	reply := make([]byte, 0, len(claims)+12)
	reply = append(append(append(reply, `{"claims":`...), claims...), '}')
	return m.answer(reply, "this hook is not handled: the claims were given back unchanged")
}

// changeTypes maps the operations of a database webhook to event types.
var changeTypes = map[string]string{
	"INSERT": "database.insert", "UPDATE": "database.update", "DELETE": "database.delete",
}

// changeMembers are the members of the body of a database webhook.
var changeMembers = []string{"type", "schema", "table", "record", "old_record"}

// database decodes a database webhook on auth.users.
func (m *message) database() event.Event {
	change := rawjson.Pick(m.object, changeMembers)
	operation := change.Text("type")
	known, handled := changeTypes[operation]
	if handled {
		m.event.Type = known
	}
	switch {
	case m.object == nil:
		return m.undecodable(reasonNoObject)
	case operation == "":
		return m.undecodable(reasonNoType)
	case !handled:
		return m.ignore("operations of this kind are not handled")
	case change.Text("schema") != "auth" || change.Text("table") != "users":
		return m.ignore("the change is of another table than auth.users")
	case operation == "DELETE":
		return m.remove(readSupabaseUser(change.Get("old_record"), m.event.ReceivedAt))
	}
	return m.apply(readSupabaseUser(change.Get("record"), m.event.ReceivedAt))
}

// supabaseMembers are the members of Supabase's user that are read.
var supabaseMembers = []string{
	"id", "email", "phone", "is_anonymous", "is_sso_user", "invited_at", "email_confirmed_at", "phone_confirmed_at",
	"banned_until", "created_at", "updated_at", "last_sign_in_at", "deleted_at",
	"user_metadata", "raw_user_meta_data", "app_metadata", "raw_app_meta_data",
}

// readSupabaseUser reads a user in either of Supabase's spellings: as the auth server
// writes it (user_metadata) and as the row has it (raw_user_meta_data). The second
// result is the reason it can't be read.
func readSupabaseUser(data []byte, received time.Time) (*profile, string) {
	if rawjson.Kind(data) != '{' {
		return nil, reasonNoUser
	}
	user := rawjson.Pick(data, supabaseMembers)
	id, ok := validID(user.Get("id"))
	if !ok {
		return nil, reasonNoID
	}
	proven := func(member string) time.Time {
		at, _ := timeOf(user.Get(member)) // what can't be read proves nothing
		return at
	}
	p := &profile{
		state: state{id: id}, email: user.Text("email"), phone: user.Text("phone"),
		anonymous: isTrue(user.Get("is_anonymous")), sso: isTrue(user.Get("is_sso_user")),
		emailConfirmed: proven("email_confirmed_at"), phoneConfirmed: proven("phone_confirmed_at"),
		invited: proven("invited_at"),
	}
	p.deleted = proven("deleted_at")
	p.emailVerified = !p.emailConfirmed.IsZero()
	p.phoneVerified = !p.phoneConfirmed.IsZero()
	p.bannedUntil = p.time(&user, "banned_until", timeOf)
	p.banned = p.bannedUntil.After(received)
	if slices.Contains(p.kept, "banned_until") {
		p.keep(reasonTime, "banned")
	}
	p.created = p.time(&user, "created_at", timeOf)
	p.updated = p.time(&user, "updated_at", versionOf)
	p.lastSignIn = p.time(&user, "last_sign_in_at", timeOf)
	userMeta := either(user.Get("user_metadata"), user.Get("raw_user_meta_data"))
	p.setMetadata(userMeta, either(user.Get("app_metadata"), user.Get("raw_app_meta_data")))
	p.setNames(userMeta)
	p.updated = cmp.Or(p.updated, p.created, time.Unix(0, 0).UTC())
	p.age(received)
	return p, ""
}

// either is the value of whichever spelling of a member there is.
func either(a, b []byte) []byte {
	if a != nil {
		return a
	}
	return b
}

// nameMembers are the members of the metadata that name a user. The sign-up form writes some, each
// OAuth provider others.
var nameMembers = []string{
	"username", "user_name", "preferred_username", "first_name", "given_name", "last_name", "family_name",
	"full_name", "name", "avatar_url", "picture", "custom_claims",
}

// setNames picks the names out of the metadata, which the client writes: a value that
// is no text, or an empty one, is absent, and the next member is asked, last those of
// custom_claims, where Keycloak puts the names. If the metadata keeps its value, so do the names.
func (p *profile) setNames(metadata []byte) {
	if slices.Contains(p.kept, "raw_user_meta_data") {
		p.keep(p.keptBecause, "username", "first_name", "last_name", "full_name", "avatar_url")
		return
	}
	names := rawjson.Pick(metadata, nameMembers)
	custom := rawjson.Pick(names.Get("custom_claims"), nameMembers)
	p.username = nameIn(&names, &custom, "username", "user_name", "preferred_username")
	p.firstName = nameIn(&names, &custom, "first_name", "given_name")
	p.lastName = nameIn(&names, &custom, "last_name", "family_name")
	p.fullName = cmp.Or(nameIn(&names, &custom, "full_name", "name"), joined(p.firstName, p.lastName))
	p.avatarURL = nameIn(&names, &custom, "avatar_url", "picture")
}

// nameIn is the first of some members that holds a name, of all names before the custom ones.
func nameIn(names, custom *rawjson.Picked, members ...string) string {
	for _, from := range []*rawjson.Picked{names, custom} {
		for _, member := range members {
			name := from.Text(member)
			isAddress := member == "preferred_username" && strings.Contains(name, "@") // as Azure has it
			if name != "" && !isAddress {
				return name
			}
		}
	}
	return ""
}
