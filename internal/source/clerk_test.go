package source

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/rawjson"
)

// clerkEvent composes a user.updated; the fields come after the id.
func clerkEvent(fields string) string {
	return `{"type":"user.updated","timestamp":1760000000480,"data":{"id":"user_1"` + fields + `}}`
}

func clerkUserOf(t *testing.T, fields string) *event.User {
	t.Helper()
	e := decode(t, clerkSource(t), clerkEvent(fields))
	if e.Op != event.Upsert {
		t.Fatalf("%s: %s", opNames[e.Op], e.Reason)
	}
	return e.User
}

func TestClerkPrimaryAddress(t *testing.T) {
	const entry = `{"id":"%s","email_address":"%s","verification":%s}`
	verified, a := `{"status":"verified"}`, "a@example.com"
	for name, test := range map[string]struct {
		id, entries string
		want        string
		verified    bool
	}{
		"the second":         {`"e2"`, fmt.Sprintf(entry+","+entry, "e1", "b@example.com", verified, "e2", a, verified), a, true},
		"null verification":  {`"e1"`, fmt.Sprintf(entry, "e1", a, "null"), a, false},
		"unverified":         {`"e1"`, fmt.Sprintf(entry, "e1", a, `{"status":"unverified"}`), a, false},
		"verification a str": {`"e1"`, fmt.Sprintf(entry, "e1", a, `"verified"`), a, false},
		"no entries":         {`"e1"`, "", "<absent>", false},
		"null id":            {"null", fmt.Sprintf(entry, "e1", a, verified), "<absent>", false},
		"dangling id":        {`"e9"`, fmt.Sprintf(entry, "e1", a, verified), "<absent>", false},
		"id a number":        {"5", fmt.Sprintf(entry, "5", a, verified), "<absent>", false},
		"empty ids":          {`""`, fmt.Sprintf(entry, "", a, verified), "<absent>", false},
		"empty address":      {`"e1"`, fmt.Sprintf(entry, "e1", "", verified), "<absent>", false},
		"odd entries":        {`"e1"`, "null,5,[],\"e1\"," + fmt.Sprintf(entry, "e1", a, verified), a, true},
	} {
		t.Run(name, func(t *testing.T) {
			// The id may stand on either side of the list.
			before := `,"primary_email_address_id":` + test.id + `,"email_addresses":[` + test.entries + `]`
			after := `,"email_addresses":[` + test.entries + `],"primary_email_address_id":` + test.id
			for _, fields := range []string{before, after} {
				u := clerkUserOf(t, fields)
				must.Equal(t, str(u.Email), test.want, "address")
				must.Equal(t, u.EmailVerified, test.verified, "verified")
			}
		})
	}
	u := clerkUserOf(t, `,"primary_phone_number_id":"p2","phone_numbers":[{"id":"p1","phone_number":"+1"},{"id":"p2","phone_number":"+2","verification":{"status":"verified"}}]`)
	must.True(t, str(u.Phone) == "+2" && u.PhoneVerified, "phone %s, verified %v", str(u.Phone), u.PhoneVerified)
	u = clerkUserOf(t, `,"primary_email_address_id":"e1","email_addresses":{"id":"e1"}`)
	must.Equal(t, str(u.Email), "<absent>", "of a list that is none")
}

func TestClerkNames(t *testing.T) {
	names := func(fields string) string {
		u := clerkUserOf(t, fields)
		return str(u.FirstName) + "|" + str(u.LastName) + "|" + str(u.FullName)
	}
	must.Table(t, names, map[string]string{
		`,"first_name":"Ada","last_name":"Lovelace"`:     "Ada|Lovelace|Ada Lovelace",
		`,"first_name":null,"last_name":"Lovelace"`:      "<absent>|Lovelace|Lovelace",
		`,"first_name":"Ada","last_name":""`:             "Ada|<absent>|Ada",
		`,"first_name":null,"last_name":null`:            "<absent>|<absent>|<absent>",
		``:                                               "<absent>|<absent>|<absent>",
		`,"first_name":7,"last_name":["x"]`:              "<absent>|<absent>|<absent>",
		`,"first_name":"Ada","first_name":"Grace"`:       "Grace|<absent>|Grace",
		`,"first_name":"Ada","FIRST_NAME":"Grace"`:       "Ada|<absent>|Ada",
		`,"first_name":"A\u0000da","last_name":"\ud800"`: "A\uFFFDda|\uFFFD|A\uFFFDda \uFFFD",
		`,"first\u005fname":"Ada"`:                       "Ada|<absent>|Ada",
		",\"first_name\":\"A\xffda\"":                    "A\uFFFDda|<absent>|A\uFFFDda",
		`,"first_name":"\ud83d\ude00"`:                   "😀|<absent>|😀",
	})
}

func TestClerkTimes(t *testing.T) {
	// What can't be used must not keep the user from changing.
	const received = "1795230000123456 2026-11-21T03:00:00.123456Z"
	version := func(fields string) string {
		u := clerkUserOf(t, fields)
		return fmt.Sprint(u.Version, " ", stamp3339(u.UpdatedAt))
	}
	must.Table(t, version, map[string]string{
		`,"updated_at":1760000000450,"created_at":1`:    "1760000000450000 2025-10-09T08:53:20.45Z",
		`,"updated_at":null,"created_at":1760000000400`: "1760000000400000 <absent>",
		``:                                           "0 <absent>",
		`,"updated_at":"2025-10-09T08:53:20Z"`:       received,
		`,"updated_at":1760000000450.75`:             "1760000000450000 2025-10-09T08:53:20.45Z",
		`,"updated_at":1.76000000045e12`:             "1760000000450000 2025-10-09T08:53:20.45Z",
		`,"updated_at":253402300799000`:              "253402300799000000 9999-12-31T23:59:59Z",
		`,"updated_at":253402300800000`:              received,
		`,"updated_at":9223372036854775807`:          received,
		`,"updated_at":1e999999`:                     received,
		`,"updated_at":-1e999999`:                    received,
		`,"updated_at":-62167219200000`:              received,
		`,"updated_at":0,"created_at":1760000000400`: "0 1970-01-01T00:00:00Z",
		`,"updated_at":-1`:                           "-1000 1969-12-31T23:59:59.999Z",
	})
}

func TestClerkBans(t *testing.T) {
	must.Table(t, func(fields string) bool { return clerkUserOf(t, fields).Banned }, map[string]bool{
		``: false, `,"banned":true`: true, `,"deprovisioned":true`: true,
		`,"deprovisioned":true,"banned":false`: true, `,"banned":"true"`: false, `,"locked":true`: false,
	})
}

func TestClerkDeletes(t *testing.T) {
	deleted := func(timestamp string) string {
		e := decode(t, clerkSource(t),
			`{"type":"user.deleted","data":{"id":"user_1","deleted":true,"updated_at":5},"timestamp":`+timestamp+`}`)
		if e.Op != event.Delete || !e.User.Dead() {
			t.Fatalf("%s: %s %s", timestamp, opNames[e.Op], e.Reason)
		}
		return fmt.Sprint(e.User.Version, " ", stamp3339(e.User.DeletedAt))
	}
	must.Table(t, deleted, map[string]string{
		`1760000300123`: "1760000300123000 2025-10-09T08:58:20.123Z",
		`1760000300`:    "1760000300000000 2025-10-09T08:58:20Z",
		`99999999999`:   "99999999999000000 5138-11-16T09:46:39Z",
		`100000000000`:  "100000000000000 1973-03-03T09:46:40Z",
		`null`:          "1795230000123456 2026-11-21T03:00:00.123456Z",
		`"soon"`:        "1795230000123456 2026-11-21T03:00:00.123456Z",
		`0`:             "1795230000123456 2026-11-21T03:00:00.123456Z",
		`-4e18`:         "1795230000123456 2026-11-21T03:00:00.123456Z",
		`1e300`:         "1795230000123456 2026-11-21T03:00:00.123456Z",
	})
}

func TestClerkOps(t *testing.T) {
	deep := strings.Repeat("[", 198) + strings.Repeat("]", 198)
	for body, want := range map[string]string{
		`{"type":"user.deleted","data":{"deleted":true}}`:                          "undecodable user.deleted",
		`{"type":"user.updated","data":{"id":5}}`:                                  "undecodable user.updated",
		`{"type":"user.updated","data":{"id":""}}`:                                 "undecodable user.updated",
		`{"type":"user.updated","data":{"id":"user_\u0000"}}`:                      "undecodable user.updated",
		`{"type":"user.updated","data":{"id":"user_\ud800"}}`:                      "undecodable user.updated",
		"{\"type\":\"user.updated\",\"data\":{\"id\":\"user_\xff\"}}":              "undecodable user.updated",
		`{"type":"user.updated","data":{"id":"` + strings.Repeat("u", 256) + `"}}`: "undecodable user.updated",
		`{"type":"user.updated","data":{"id":"` + strings.Repeat("u", 255) + `"}}`: "upsert user.updated",
		`{"type":"user.updated","data":[]}`:                                        "undecodable user.updated",
		`{"type":"user.updated"}`:                                                  "undecodable user.updated",
		`{"type":"user.updated","data":null}`:                                      "undecodable user.updated",
		`{"type":5,"data":{"id":"user_1"}}`:                                        "undecodable other",
		`{"data":{"id":"user_1"}}`:                                                 "undecodable other",
		`[]`:                                                                       "undecodable other",
		`"user.updated"`:                                                           "undecodable other",
		`5`:                                                                        "undecodable other",
		`null`:                                                                     "undecodable other",
		``:                                                                         "undecodable other",
		`{"type":"user.updated","data":{"id":"user_1"}`:                            "undecodable other",
		"\uFEFF" + clerkEvent(""):                                                  "undecodable other",
		" \n" + clerkEvent("") + "\t":                                              "upsert user.updated",
		`{"type":"user.created","data":{"id":"user_1","x":` + deep + `,"y":[],"z":[]}}`:   "upsert user.created",
		`{"type":"user.created","data":{"id":"user_1","x":[` + deep + `]}}`:               "upsert user.created",
		`{"type":"user.created","data":{"id":"user_1"},"x":[[[` + deep + `]]]}`:           "upsert user.created",
		`{"type":"made.up","data":[[[` + deep + `]]]}`:                                    "ignore other",
		`{"type":"user.invented","data":{"id":"user_1"}}`:                                 "ignore other",
		`{"type":"email.created","data":{"otp_code":"1"}}`:                                "ignore email.created",
		`{"type":"session.ended","data":{"id":"s","user":null}}`:                          "ignore session.ended",
		`{"type":"session.ended","data":{"id":"s"}}`:                                      "ignore session.ended",
		`{"type":"session.ended"}`:                                                        "ignore session.ended",
		`{"type":"session.removed","data":{"user":{"id":"user_1"}}}`:                      "upsert session.removed",
		`{"type":"session.invented","data":{"user":{"id":"user_1"}}}`:                     "upsert other",
		`{"type":"session.created","data":{"user":{"name":"x"}}}`:                         "undecodable session.created",
		`{"type":"session.created","data":{"user":"user_1"}}`:                             "undecodable session.created",
		`{"type":"user.updated","data":{"id":"user_1"},"instance_id":"` + instance + `"}`: "upsert user.updated",
		`{"type":"user.updated","data":{"id":"user_1"},"instance_id":null}`:               "upsert user.updated",
		`{"type":"user.updated","data":{"id":"user_1"},"instance_id":"ins_other"}`:        "ignore user.updated",
	} {
		e := decode(t, clerkSource(t), body)
		must.Equal(t, opNames[e.Op]+" "+e.Type, want, body)
		checkEvent(t, e)
		must.True(t, !strings.HasPrefix(e.Type, "session.") || e.Body == nil, "%.90s: the body of a session was kept", body)
	}
}

// The dashboard's sample event tells of a made-up user, with a valid signature.
func TestClerkDashboardSample(t *testing.T) {
	const docs, spec = "user_29w83sxmDNGwOuEthce5gg56FcC", "user_2g7np7Hrk0SN6kj5EDMLDaKNL0S"
	open := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}})
	owner := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}, InstanceID: "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S"})
	body := func(kind, id, instance string) string {
		data := `{"id":"` + id + `","first_name":"Example","updated_at":1654012591835}`
		if strings.Contains(id, "another") {
			data = `{"id":"` + id + `","primary_email_address_id":"e","email_addresses":[{"id":"e","email_address":"example@example.org"}]}`
		}
		if strings.HasPrefix(kind, "session.") {
			data = `{"id":"sess_1","user":` + data + `}`
		}
		return `{"type":"` + kind + `","timestamp":1654012591835,"instance_id":"` + instance + `","data":` + data + `}`
	}
	for _, test := range []struct {
		s                  *Source
		kind, id, instance string
		want               string
	}{
		{open, "user.created", docs, "ins_123", "ignore sample"},
		{open, "user.updated", docs, "", "ignore sample"},
		{open, "user.created", docs, "ins_2otherInstance00000000000000", "ignore sample"},
		{open, "user.created", "user_2anotherUser", "ins_123", "ignore sample"},
		{open, "user.created", "user_1", "ins_123", "upsert "},
		{open, "user.created", "user_2anotherUser", "ins_2abc", "upsert "},
		{open, "user.created", spec, "ins_2abc", "ignore sample"},
		{open, "user.updated", spec, "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "ignore sample"},
		{open, "session.created", spec, "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "ignore sample"},
		{open, "user.deleted", spec, "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "ignore sample"},
		{open, "user.deleted", docs, "ins_123", "ignore sample"},
		// A sample that arrived earlier can be deleted.
		{open, "user.deleted", docs, "ins_2RollcallSample000000000000000", "delete "},
		{open, "user.deleted", docs, "", "delete "},
		// An instance of the configuration is real, and so is every user of it.
		{owner, "user.created", spec, "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "upsert "},
		{owner, "user.created", docs, "", "ignore sample"},
		{owner, "user.created", "user_2anotherUser", "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "upsert "},
		{open, "user.created", "user_1", "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "upsert "},
		{open, "user.created", "user_29w83sxmDNGwOuEthce5gg56FcD", "ins_2abc", "upsert "},
	} {
		e := decode(t, test.s, body(test.kind, test.id, test.instance))
		what := fmt.Sprintf("%s of %s, instance %s", test.kind, test.id, test.instance)
		must.Equal(t, opNames[e.Op]+" "+e.Reason, test.want, what)
		checkEvent(t, e)
	}
	beside := decode(t, clerkSource(t), body("user.created", docs, "ins_123"))
	must.Equal(t, beside.Reason, reasonSample, "beside instance_id")
}

func TestClerkInstanceIsOptional(t *testing.T) {
	s := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}})
	e := decode(t, s, `{"type":"user.updated","data":{"id":"user_1"},"instance_id":"ins_any"}`)
	must.Equal(t, opNames[e.Op], "upsert", e.Reason)
}

func TestClerkMetadataGoesWhereItBelongs(t *testing.T) {
	u := clerkUserOf(t, `,"unsafe_metadata":{"a":1},"public_metadata":{"b":2},"private_metadata":{"c":3}`)
	must.Equal(t, u.RawUserMetaData, `{"a":1}`, "of the user")
	must.Equal(t, u.RawAppMetaData, `{"b":2}`, "of the app")
}

func TestEventIDs(t *testing.T) {
	s, body := clerkSource(t), clerkEvent("")
	hashed := func(id string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(id))) }
	received := func(id string) string {
		r := Request{Header: must.Get(s.SignAs(Hook, []byte(body), id, now))(t), Body: []byte(body), ReceivedAt: now}
		must.Do(t, s.Verify(r))
		return s.Decode(r).ID
	}
	must.Table(t, received, map[string]string{
		"msg_1":                  "msg_1",
		strings.Repeat("m", 255): strings.Repeat("m", 255),
		strings.Repeat("m", 256): hashed(strings.Repeat("m", 256)),
		"msg_\xff":               hashed("msg_\xff"),
		"msg_\xfe":               hashed("msg_\xfe"),
	})
	// The database keeps microseconds; a replay is given what it kept.
	got := s.Decode(Request{Body: []byte(body), ReceivedAt: now.Add(789)})
	must.Equal(t, got.ReceivedAt.String(), now.String(), "received")
	got = s.Decode(Request{Body: []byte(body)})
	must.Equal(t, got.ID+got.ReceivedAt.String(), now.String(), "without headers")
}

// A user of the API is the one an event would have carried.
func TestClerkUserOfTheAPI(t *testing.T) {
	t.Parallel()
	s := clerkSource(t)
	bodies := files(t, "clerk")
	compared := 0
	for name, body := range bodies {
		e := decode(t, s, body)
		object := rawjson.Member([]byte(body), "data")
		if strings.HasPrefix(name, "organization") {
			continue // TestClerkTeamsOfTheAPI
		}
		if user := rawjson.Member(object, "user"); user != nil {
			object = user
		}
		if e.Op == event.Upsert {
			compared++
			checkSame(t, s, e, object)
		} else if e.Op == event.Delete {
			continue
		} else if u, err := s.DecodeUser(object, now); err == nil && e.Op == event.Undecodable {
			t.Errorf("%s: %+v", name, u)
		}
	}
	must.True(t, compared >= 6, "only %d users compared", compared)
}

func TestClerkUserOfTheAPIIsRepaired(t *testing.T) {
	t.Parallel()
	s := clerkSource(t)
	wantNoUser(t, s, ``, `null`, `[]`, `{"id":`, `{"first_name":"secret"}`, `{"id":""}`, `{"id":"secret\u0000"}`)
	u, err := s.DecodeUser([]byte("{\"id\":\"user_1\",\"first_name\":\"\xff\",\"public_metadata\":{\"a\":\"\\u0000\"},\"private_metadata\":{\"secret\":1},\"updated_at\":1760000000480}"), now)
	if err != nil || str(u.FirstName) != "\uFFFD" || u.RawAppMetaData != "{\"a\":\"\uFFFD\"}" || u.RawUserMetaData != "{}" || u.Version != 1760000000480000 {
		t.Errorf("%+v, %v", u, err)
	}
	must.True(t, !strings.Contains(fmt.Sprintf("%+v", *u), "secret"), "a user with what only the backend may see")
}

// What the stand-in for the API says in a webhook and in an answer is one user.
func TestClerkStandIn(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	s := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}, InstanceID: clerk.Instance()})
	u := clerk.Put(clerktest.User{
		ExternalID: "x1", Username: "ada", FirstName: "Ada", LastName: "Example", Email: "ada@example.com", Phone: "+15555550100", Banned: true,
		ImageURL: "https://img.example.com/ada.png", Public: map[string]any{"plan": "free"}, Unsafe: map[string]any{"news": true}, Private: map[string]any{"secret": 1},
		LastSignInAt: now,
	})
	for _, kind := range []string{"user.created", "user.updated", "session.created"} {
		e := decode(t, s, string(clerk.Event(kind, u.ID)))
		if e.Op != event.Upsert || e.Type != kind || str(e.User.Email) != "ada@example.com" || !e.User.EmailVerified || !e.User.Banned || str(e.User.ExternalID) != "x1" ||
			str(e.User.Phone) != "+15555550100" || e.User.RawAppMetaData != `{"plan":"free"}` || e.User.RawUserMetaData != `{"news":true}` || e.User.Version != u.UpdatedAt.UnixMicro() ||
			stamp3339(e.User.LastSignInAt) != "2026-11-21T03:00:00.123Z" || str(e.User.FullName) != "Ada Example" {
			t.Errorf("%s: %s %+v", kind, e.Reason, e.User)
		}
		checkSame(t, s, e, clerk.Object(u.ID))
		must.True(t, !strings.Contains(string(e.Body), "secret"), "%s: stored %s", kind, e.Body)
	}
	clerk.Update(u.ID, func(u *clerktest.User) { u.Banned, u.Unverified = false, true })
	if e := decode(t, s, string(clerk.Event("user.updated", u.ID))); e.User.Banned || e.User.EmailVerified || e.User.Version <= u.UpdatedAt.UnixMicro() {
		t.Errorf("updated: %+v", e.User)
	}
	clerk.Delete(u.ID)
	if e := decode(t, s, string(clerk.Event("user.deleted", u.ID))); e.Op != event.Delete || e.UserID != u.ID || str(e.User.ExternalID) != "x1" {
		t.Errorf("deleted: %+v", e)
	}
}

// The lists of a Clerk user are kept as sent, without what may be a secret.
func TestClerkLists(t *testing.T) {
	u := userOf(t, clerkSource(t), `{"id":"user_a","locked":true,
		"email_addresses":[{"id":"e1","email_address":"a@example.com","verification":{"nonce":"n","status":"verified"}}],
		"external_accounts":[{"provider":"oauth_google","private_metadata":{"a":1},"token":"t"},7]}`)
	must.Equal(t, u.EmailAddresses, `[{"id":"e1","email_address":"a@example.com","verification":{"status":"verified"}}]`, "e-mail addresses")
	must.Equal(t, u.ExternalAccounts, `[{"provider":"oauth_google"},7]`, "accounts")
	must.Equal(t, u.Locked, true, "locked")
	u = userOf(t, clerkSource(t), `{"id":"user_a","email_addresses":{"a":1},"external_accounts":null}`)
	must.Equal(t, u.EmailAddresses+u.ExternalAccounts, "", "no lists")
}
