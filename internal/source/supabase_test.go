package source

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
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
	of := func(body string) string {
		e := decode(t, supabaseSource(t), body)
		checkEvent(t, e)
		return opNames[e.Op] + " " + e.Type + " " + e.UserID
	}
	must.Table(t, of, map[string]string{
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
	})
}

func TestHookReplies(t *testing.T) {
	// Odd spacing, doubled keys and escapes: claims go back byte for byte.
	claims := "{ \"sub\" : \"u1\",\n\"sub\":\"u1\", \"n\":1.50e3, \"s\":\"\\u0000\\ud800<\" }"
	deep := strings.Repeat(`[`, 300) + strings.Repeat("]", 300)
	reply := func(body string) string {
		e := decode(t, supabaseSource(t), body)
		checkEvent(t, e)
		must.True(t, e.Op == event.Ignore && e.Body == nil, "%s: %s, body %s", body, opNames[e.Op], e.Body)
		return string(e.Reply)
	}
	must.Table(t, reply, map[string]string{
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
	})
}

// Auth servers of 2024 send hooks without metadata. Their shapes tell them apart.
func TestHooksWithoutMetadata(t *testing.T) {
	const claims = `{ "sub":"u1", "n":1.50 }`
	ignored := func(body string) string {
		e := decode(t, supabaseSource(t), body)
		checkEvent(t, e)
		if e.Op != event.Ignore {
			return ""
		}
		return e.Type + " " + string(e.Reply)
	}
	must.Table(t, ignored, map[string]string{
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
	})
}

func TestHookIDs(t *testing.T) {
	long := strings.Repeat("x", 300)
	of := func(uuid string) string {
		body := `{"metadata":{"name":"after-user-created","uuid":` + uuid + `},"user":{"id":"u1"}}`
		return decode(t, supabaseSource(t), body).ID
	}
	must.Table(t, of, map[string]string{
		`"0b5c1cf3"`:     "0b5c1cf3",
		`null`:           "msg_made_up",
		`5`:              "msg_made_up",
		`""`:             "msg_made_up",
		`"` + long + `"`: boundedID(long),
		`"a\u0000"`:      hashedID([]byte(`a\u0000`)),
		`"a\ud800"`:      hashedID([]byte(`a\ud800`)),
		`"\u0061"`:       "a",
	})
	// A body without an id still has the one of its delivery.
	must.Equal(t, decode(t, supabaseSource(t), `nonsense`).ID, "msg_made_up", "undecodable")
}

func TestSupabaseAbsence(t *testing.T) {
	u := hookUser(t, `,"email":"","phone":"","created_at":"0001-01-01T00:00:00Z","updated_at":"0001-01-01T00:00:00Z","last_sign_in_at":null`)
	must.True(t, u.Email == nil && u.Phone == nil && u.CreatedAt == nil && u.LastSignInAt == nil,
		"absent values are there: %+v", u)
	must.True(t, u.Version == 0 && stamp3339(u.UpdatedAt) == "1970-01-01T00:00:00Z",
		"version %d, updated %s", u.Version, stamp3339(u.UpdatedAt))
	u = hookUser(t, `,"created_at":"2026-11-21T01:00:00Z","updated_at":null`)
	must.True(t, u.Version == 1795222800000000 && stamp3339(u.UpdatedAt) == "2026-11-21T01:00:00Z",
		"version %d, updated %s", u.Version, stamp3339(u.UpdatedAt))
}

func TestSupabaseConfirmations(t *testing.T) {
	u := hookUser(t, `,"email":"a@example.com","email_confirmed_at":"2026-11-21T01:00:00Z","phone":"15555550100","phone_confirmed_at":null`)
	if !u.EmailVerified || stamp3339(u.EmailConfirmedAt) != "2026-11-21T01:00:00Z" || u.PhoneVerified || u.PhoneConfirmedAt != nil {
		t.Errorf("%+v", u)
	}
	// What the client claims in its metadata proves nothing.
	u = hookUser(t, `,"email":"a@example.com","user_metadata":{"email_verified":true}`)
	must.Equal(t, u.EmailVerified, false, "verified by the client's word")
}

func TestSupabaseBans(t *testing.T) {
	must.Table(t, func(until string) bool { return hookUser(t, `,"banned_until":`+until).Banned }, map[string]bool{
		"null": false, `"infinity"`: true, `"2999-01-01T00:00:00Z"`: true, `""`: false,
		fmt.Sprintf("%q", now.Format(time.RFC3339Nano)):                       false,
		fmt.Sprintf("%q", now.Add(time.Microsecond).Format(time.RFC3339Nano)): true,
		`"2026-11-21T02:59:59Z"`:                                              false,
	})
}

func TestSupabaseNames(t *testing.T) {
	names := func(metadata string) string {
		u := hookUser(t, `,"user_metadata":`+metadata)
		names := []string{str(u.Username), str(u.FirstName), str(u.LastName), str(u.FullName)}
		return strings.ReplaceAll(strings.Join(names, "|"), "<absent>", "")
	}
	must.Table(t, names, map[string]string{
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
	})
	avatar := func(metadata string) string { return str(hookUser(t, `,"user_metadata":`+metadata).AvatarURL) }
	must.Table(t, avatar, map[string]string{
		`{"avatar_url":"a","picture":"p"}`: "a", `{"avatar_url":"","picture":"p"}`: "p", `{"avatar_url":5}`: "<absent>",
	})
}

func TestDatabaseOps(t *testing.T) {
	const where = `,"schema":"auth","table":"users"`
	of := func(body string) string {
		e := decodeAt(t, supabaseSource(t), Database, body)
		checkEvent(t, e)
		return opNames[e.Op] + " " + e.Type
	}
	must.Table(t, of, map[string]string{
		`{"type":"INSERT"` + where + `,"record":{"id":"u1"}}`:                                  "upsert database.insert",
		`{"type":"UPDATE"` + where + `,"record":{"id":"u1"},"old_record":{"id":"u1"},"new":1}`: "upsert database.update",
		`{"type":"DELETE"` + where + `,"old_record":{"id":"u1"},"record":null}`:                "delete database.delete",
		`{"type":"DELETE"` + where + `,"record":{"id":"u1"}}`:                                  "undecodable database.delete",
		`{"type":"INSERT"` + where + `,"record":null}`:                                         "undecodable database.insert",
		`{"type":"INSERT"` + where + `,"record":{"id":null}}`:                                  "undecodable database.insert",
		`{"type":"INSERT"` + where + `,"record":[{"id":"u1"}]}`:                                "undecodable database.insert",
		`{"type":"TRUNCATE"` + where + `}`:                                                     "ignore other",
		`{"type":"INSERT","schema":"public","table":"users","record":{"id":"u1"}}`:             "ignore database.insert",
		`{"type":"INSERT","schema":"auth","table":"sessions","record":{"id":"u1"}}`:            "ignore database.insert",
		`{"type":"INSERT","record":{"id":"u1"}}`:                                               "ignore database.insert",
		`{"record":{"id":"u1"}}`:                                                               "undecodable other",
		`[1]`:                                                                                  "undecodable other",
		`nonsense`:                                                                             "undecodable other",
	})
}

func TestDatabaseDeletions(t *testing.T) {
	const soft = `{"type":"UPDATE","schema":"auth","table":"users","record":{"id":"u1","updated_at":"2026-11-21T01:00:00+00:00","deleted_at":"2026-11-21T01:00:01+00:00"}}`
	const hard = `{"type":"DELETE","schema":"auth","table":"users","old_record":{"id":"u1","updated_at":"2026-11-21T01:00:00+00:00"}}`
	const both = `{"type":"DELETE","schema":"auth","table":"users","old_record":{"id":"u1","updated_at":"2026-11-21T01:00:00+00:00","deleted_at":"2026-11-20T00:00:00+00:00"}}`
	for body, want := range map[string]string{
		soft: "2026-11-21T01:00:01Z", hard: "2026-11-21T03:00:00.123456Z", both: "2026-11-20T00:00:00Z",
	} {
		e := decodeAt(t, supabaseSource(t), Database, body)
		must.True(t, e.Op == event.Delete && stamp3339(e.User.DeletedAt) == want && e.User.Version == 1795222800000000,
			"%s: %s %+v", body, opNames[e.Op], e.User)
	}
}

func TestDecodeUser(t *testing.T) {
	s := supabaseSource(t)
	u := userOf(t, s, `{"id":"u1","email":"a@example.com","raw_user_meta_data":{"name":"A\u0000"},`+
		`"banned_until":"2026-11-21T03:00:01Z"}`)
	if str(u.Email) != "a@example.com" || str(u.FullName) != "A\uFFFD" || u.RawUserMetaData != "{\"name\":\"A\uFFFD\"}" || !u.Banned {
		t.Errorf("%+v", u)
	}
	u = userOf(t, s, "{\"id\":\"u1\",\"raw_app_meta_data\":{\"a\":\"\xff\"}}")
	must.Equal(t, u.RawAppMetaData, "{\"a\":\"\uFFFD\"}", "not UTF-8")
	must.Equal(t, userOf(t, s, `{"id":"u1","deleted_at":"2026-11-21T03:00:01Z"}`).Dead(), true, "soft-deleted")
	wantNoUser(t, s, ``, `null`, `[]`, `{"id":`, `{"email":"secret@example.com"}`)
}

// The times are those that the auth server stores in its table: it cuts off what is below a
// microsecond. The rest comes from a PostgreSQL that read the same text.
func TestTimes(t *testing.T) {
	of := func(text string) string {
		at, _ := timeOf([]byte(`"` + text + `"`))
		return stamp3339(moment(&at))
	}
	must.Table(t, of, map[string]string{
		"2026-11-21T01:17:36.73+00:00":     "2026-11-21T01:17:36.73Z",
		"2026-11-21T01:17:36.757029871Z":   "2026-11-21T01:17:36.757029Z",
		"2024-05-01T10:00:03.539357775Z":   "2024-05-01T10:00:03.539357Z",
		"1969-12-31T23:59:59.9999999Z":     "1969-12-31T23:59:59.999999Z",
		"2026-11-21T01:17:36.7570295Z":     "2026-11-21T01:17:36.757029Z",
		"2026-11-21T01:17:36.7570285Z":     "2026-11-21T01:17:36.757028Z",
		"2026-11-21T01:17:36.0000005Z":     "2026-11-21T01:17:36Z",
		"2026-11-21T01:17:36.0000015Z":     "2026-11-21T01:17:36.000001Z",
		"2026-11-21T01:17:36.9999995Z":     "2026-11-21T01:17:36.999999Z",
		"2026-11-21T06:47:36+05:30":        "2026-11-21T01:17:36Z",
		"1800-01-01T00:00:00+05:53:28":     "1799-12-31T18:06:32Z",
		"2026-11-21T01:17:36+00":           "2026-11-21T01:17:36Z",
		"2026-11-21 01:17:36.5+00":         "2026-11-21T01:17:36.5Z",
		"2026-11-21T01:17:36":              "2026-11-21T01:17:36Z",
		"infinity":                         "9999-12-31T23:59:59Z",
		"10000-01-01T00:00:00+00:00":       "9999-12-31T23:59:59Z",
		"294276-12-31T00:00:00+05:30":      "9999-12-31T23:59:59Z",
		"9999-12-31T23:59:59.7+00:00":      "9999-12-31T23:59:59Z",
		"9999-12-31T23:59:59-08:00":        "9999-12-31T23:59:59Z",
		"-infinity":                        "<absent>",
		"0044-03-15T00:00:00+00:19:32 BC":  "<absent>",
		"10044-03-15T00:00:00+00:19:32 BC": "<absent>",
		"12345-nonsense":                   "<absent>",
		"0001-01-01T00:00:00Z":             "<absent>",
		"0001-01-01T00:00:00+05:30":        "<absent>",
		"0001-01-01T00:00:00-05:30":        "<absent>",
		"2026-02-30T00:00:00Z":             "<absent>",
		"yesterday":                        "<absent>",
		"":                                 "<absent>",
		strings.Repeat("9", 70):            "<absent>",
	})
	for _, value := range []string{"null", "5", "true", "[]", ""} {
		got, _ := timeOf([]byte(value))
		must.Equal(t, got, time.Time{}, value)
	}
}
