package source

import (
	"strings"

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

func readSupabaseHook(object []byte) supabaseHook {
	var h supabaseHook
	for w := rawjson.Into(object); ; {
		key, value, ok := w.Member()
		if !ok {
			return h
		}
		switch string(key) {
		case "metadata":
			h.id = messageID(rawjson.Member(value, "uuid"))
			h.name = hookName(rawjson.Text(rawjson.Member(value, "name")))
		case "user":
			h.user = value
		case "claims":
			h.claims = value
		}
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
	id, ok := userID(rawjson.Member(user, "id"))
	if !ok {
		return m.undecodable(reasonNoID)
	}
	return m.announce(id)
}

// Contact returns by what else than the announced id a user can be known, from the kept body
// of the announcement; "" where that says nothing.
func Contact(body []byte) (email, phone string) {
	user := readSupabaseHook(rawjson.Object(rawjson.ToUTF8(body))).user
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
