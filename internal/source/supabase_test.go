package source

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
)

// hookBody composes an auth hook; rest is what follows the metadata.
func hookBody(name, rest string) string {
	return `{"metadata":{"uuid":"0b5c1cf3-0000-4000-8000-000000000001","name":"` + name + `"}` + rest + `}`
}

func hookUser(t *testing.T, fields string) *event.User {
	t.Helper()
	e := decode(t, supabaseSource(t), hookBody(hookAfter, `,"user":{"id":"u1"`+fields+`}`))
	if e.Op != event.Upsert {
		t.Fatalf("%s: %s", opNames[e.Op], e.Reason)
	}
	return e.User
}

func TestHookOps(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300)
	user := `,"user":{"id":"u1"}`
	for body, want := range map[string]string{
		hookBody(hookBefore, user): "announce before-user-created u1",
		hookBody(hookAfter, user):  "upsert after-user-created u1",
		hookBody(hookAfter, `,"user":{"id":"u1","deleted_at":"2026-11-21T01:00:00Z"}`): "delete after-user-created u1",
		hookBody(hookBefore, ""):                                             "undecodable before-user-created ",
		hookBody(hookBefore, `,"user":{"id":7}`):                             "undecodable before-user-created ",
		hookBody(hookAfter, `,"user":{}`):                                    "undecodable after-user-created ",
		hookBody(hookAfter, `,"user":null`):                                  "undecodable after-user-created ",
		hookBody(hookAfter, `,"user":{"id":"u1","user_metadata":`+deep+`}`):  "upsert after-user-created u1",
		hookBody(hookBefore, `,"user":{"id":"u1","user_metadata":`+deep+`}`): "announce before-user-created u1",
		hookBody("invented", user):                                           "ignore other ",
		hookBody("", user):                                                   "undecodable other ",
		`{"metadata":[],"user":{"id":"u1"}}`:                                 "undecodable other ",
		`{"user":{"id":"u1"}}`:                                               "undecodable other ",
		`{"metadata":{"name":["after-user-created"]}}`:                       "undecodable other ",
		`[]`:                            "undecodable other ",
		`{`:                             "undecodable other ",
		hookBody(hookAfter, user) + "x": "undecodable other ",
	} {
		e := decode(t, supabaseSource(t), body)
		if got := opNames[e.Op] + " " + e.Type + " " + e.UserID; got != want {
			t.Errorf("%.90s: got %s, want %s", body, got, want)
		}
		checkEvent(t, e)
	}
}

func TestHookReplies(t *testing.T) {
	// Odd spacing, doubled keys and escapes: claims go back byte for byte.
	claims := "{ \"sub\" : \"u1\",\n\"sub\":\"u1\", \"n\":1.50e3, \"s\":\"\\u0000\\ud800<\" }"
	deep := strings.Repeat(`[`, 300) + strings.Repeat("]", 300)
	for body, want := range map[string]string{
		hookBody("customize-access-token", `,"claims":`+claims):        `{"claims":` + claims + `}`,
		hookBody("custom-access-token", `,"claims":{}`):                `{"claims":{}}`,
		hookBody("customize-access-token", `,"claims":{"x":`+deep+`}`): `{"claims":{"x":` + deep + `}}`,
		hookBody("customize-access-token", ``):                         ``,
		hookBody("mfa-verification", ``):                               `{"decision":"continue"}`,
		hookBody("mfa-verification-attempt", ``):                       `{"decision":"continue"}`,
		hookBody("password-verification", ``):                          `{"decision":"continue"}`,
		hookBody("password-verification-attempt", ``):                  `{"decision":"continue"}`,
		hookBody("send-email", ``):                                     replySendNothing,
		hookBody("send-sms", ``):                                       replySendNothing,
		hookBody("invented-attempt", ``):                               ``,
	} {
		e := decode(t, supabaseSource(t), body)
		if e.Op != event.Ignore || e.Body != nil {
			t.Errorf("%s: %s, body %s", body, opNames[e.Op], e.Body)
		}
		if got := string(e.Reply); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
		checkEvent(t, e)
	}
}

// Auth servers of 2024 send hooks without metadata. Their shapes tell them apart.
func TestHooksWithoutMetadata(t *testing.T) {
	const claims = `{ "sub":"u1", "n":1.50 }`
	for body, want := range map[string]string{
		`{"user_id":"u1","claims":` + claims + `,"authentication_method":"password"}`:   `customize-access-token {"claims":` + claims + `}`,
		`{"metadata":{},"user_id":"u1","claims":{},"authentication_method":"otp"}`:      `customize-access-token {"claims":{}}`,
		`{"user":{"id":"u1","phone":"1"},"sms":{"otp":"1"}}`:                            `send-sms ` + replySendNothing,
		`{"user":{"id":"u1"},"email_data":{"token":"1"}}`:                               `send-email ` + replySendNothing,
		`{"factor_id":"f1","factor_type":"totp","user_id":"u1","valid":false}`:          `mfa-verification {"decision":"continue"}`,
		`{"factor_id":"f1","user_id":"u1","valid":true}`:                                `mfa-verification {"decision":"continue"}`,
		`{"user_id":"u1","valid":true}`:                                                 `password-verification {"decision":"continue"}`,
		`{"user_id":"u1","valid":"true"}`:                                               ``,
		`{"user_id":"u1","claims":[],"authentication_method":"password"}`:               ``,
		`{"user_id":"u1","claims":{}}`:                                                  ``,
		`{"claims":{},"authentication_method":"password"}`:                              ``,
		`{"user":{"id":"u1","sms":{},"email_data":{}}}`:                                 ``,
		`{"user":{"id":"u1"}}`:                                                          ``,
		`{"metadata":{"name":"new-hook"},"user_id":"u1","valid":true}`:                  `other `,
		`{"metadata":{"name":"after-user-created"},"user":{"id":"u1"},"email_data":{}}`: ``,
	} {
		e := decode(t, supabaseSource(t), body)
		if got := e.Type + " " + string(e.Reply); e.Op == event.Ignore && got != want || (e.Op == event.Ignore) != (want != "") {
			t.Errorf("%s: %s %s, want %s", body, opNames[e.Op], got, want)
		}
		checkEvent(t, e)
	}
}

func TestHookIDs(t *testing.T) {
	long := strings.Repeat("x", 300)
	for uuid, want := range map[string]string{
		`"0b5c1cf3"`:     "0b5c1cf3",
		`null`:           "msg_made_up",
		`5`:              "msg_made_up",
		`""`:             "msg_made_up",
		`"` + long + `"`: boundedID(long),
		`"a\u0000"`:      hashedID([]byte(`a\u0000`)),
		`"a\ud800"`:      hashedID([]byte(`a\ud800`)),
		`"\u0061"`:       "a",
	} {
		body := `{"metadata":{"name":"after-user-created","uuid":` + uuid + `},"user":{"id":"u1"}}`
		if got := decode(t, supabaseSource(t), body).ID; got != want {
			t.Errorf("%.20s: got %s, want %s", uuid, got, want)
		}
	}
	// A body without an id still has the one of its delivery.
	if got := decode(t, supabaseSource(t), `nonsense`).ID; got != "msg_made_up" {
		t.Errorf("undecodable: %s", got)
	}
}

func TestSupabaseAbsence(t *testing.T) {
	u := hookUser(t, `,"email":"","phone":"","created_at":"0001-01-01T00:00:00Z","updated_at":"0001-01-01T00:00:00Z","last_sign_in_at":null`)
	if u.Email != nil || u.Phone != nil || u.CreatedAt != nil || u.LastSignInAt != nil {
		t.Errorf("absent values are there: %+v", u)
	}
	if u.Version != 0 || stamp3339(u.UpdatedAt) != "1970-01-01T00:00:00Z" {
		t.Errorf("version %d, updated %s", u.Version, stamp3339(u.UpdatedAt))
	}
	u = hookUser(t, `,"created_at":"2026-11-21T01:00:00Z","updated_at":null`)
	if u.Version != 1795222800000000 || stamp3339(u.UpdatedAt) != "2026-11-21T01:00:00Z" {
		t.Errorf("version %d, updated %s", u.Version, stamp3339(u.UpdatedAt))
	}
}

func TestSupabaseConfirmations(t *testing.T) {
	u := hookUser(t, `,"email":"a@example.com","email_confirmed_at":"2026-11-21T01:00:00Z","phone":"15555550100","phone_confirmed_at":null`)
	if !u.EmailVerified || stamp3339(u.EmailConfirmedAt) != "2026-11-21T01:00:00Z" || u.PhoneVerified || u.PhoneConfirmedAt != nil {
		t.Errorf("%+v", u)
	}
	// What the client claims in its metadata proves nothing.
	if u := hookUser(t, `,"email":"a@example.com","user_metadata":{"email_verified":true}`); u.EmailVerified {
		t.Error("verified by the client's word")
	}
}

func TestSupabaseBans(t *testing.T) {
	for until, want := range map[string]bool{
		"null": false, `"infinity"`: true, `"2999-01-01T00:00:00Z"`: true, `""`: false,
		fmt.Sprintf("%q", now.Format(time.RFC3339Nano)):                       false,
		fmt.Sprintf("%q", now.Add(time.Microsecond).Format(time.RFC3339Nano)): true,
		`"2026-11-21T02:59:59Z"`:                                              false,
	} {
		if got := hookUser(t, `,"banned_until":`+until).Banned; got != want {
			t.Errorf("%s: banned is %v", until, got)
		}
	}
}

func TestSupabaseNames(t *testing.T) {
	for metadata, want := range map[string]string{
		`{"username":"a","user_name":"b","preferred_username":"c"}`:                             "a|||",
		`{"username":"","user_name":7,"preferred_username":"c"}`:                                "c|||",
		`{"preferred_username":"ada@example.com","custom_claims":{"preferred_username":"ada"}}`: "ada|||", // as Azure has it
		`{"preferred_username":"ada@example.com"}`:                                              "|||",
		`{"username":"ada@example.com"}`:                                                        "ada@example.com|||",
		`{"first_name":"A","given_name":"B","last_name":"C","family_name":"D"}`:                 "|A|C|A C",
		`{"given_name":"B","family_name":"D"}`:                                                  "|B|D|B D",
		`{"given_name":"B"}`:                                                                    "|B||B",
		// As a Keycloak's user comes.
		`{"custom_claims":{"given_name":"B","family_name":"D","preferred_username":"c"},"name":"B D"}`: "c|B|D|B D",
		`{"custom_claims":{"given_name":"B","name":"N"},"given_name":"A"}`:                             "|A||N",
		`{"custom_claims":{"custom_claims":{"given_name":"B"}}}`:                                       "|||",
		`{"custom_claims":["given_name"]}`:                                                             "|||",
		`{"full_name":"F","name":"N"}`:                                                                 "|||F",
		`{"full_name":null,"name":"N"}`:                                                                "|||N",
		`{"full_name":"Never Split"}`:                                                                  "|||Never Split",
		`{"full_name":"F","FULL_NAME":"X","Name":"Y"}`:                                                 "|||F",
		`{"name":"N","name":{"x":1}}`:                                                                  "|||",
		`["name","N"]`:                                                                                 "|||",
		`"name"`:                                                                                       "|||",
	} {
		u := hookUser(t, `,"user_metadata":`+metadata)
		names := []string{str(u.Username), str(u.FirstName), str(u.LastName), str(u.FullName)}
		got := strings.ReplaceAll(strings.Join(names, "|"), "<absent>", "")
		if got != want {
			t.Errorf("%s: got %s, want %s", metadata, got, want)
		}
	}
	for metadata, want := range map[string]string{
		`{"avatar_url":"a","picture":"p"}`: "a", `{"avatar_url":"","picture":"p"}`: "p", `{"avatar_url":5}`: "<absent>",
	} {
		if got := str(hookUser(t, `,"user_metadata":`+metadata).AvatarURL); got != want {
			t.Errorf("%s: got %s", metadata, got)
		}
	}
}
