package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/rawjson"
)

// clientBody is a provider's body about a user who is banned, has a new e-mail address or is
// deleted. The client writes what stands for %s: any JSON value.
type clientBody struct {
	name     string
	endpoint Endpoint
	of       func(testing.TB) *Source
	body     string
	gone     bool
	// meta: the client's value is the user's metadata.
	meta bool
}

const (
	clerkState = `"id":"user_1","banned":true,"updated_at":1760000000450,"public_metadata":{"plan":"pro"},` +
		`"primary_email_address_id":"e2","email_addresses":[{"id":"e2","email_address":"new@example.com","verification":{"status":"verified"}}]`
	supabaseState = `"id":"u1","email":"new@example.com","email_confirmed_at":"2026-11-21T01:00:00Z",` +
		`"banned_until":"2999-01-01T00:00:00Z","updated_at":"2026-11-21T01:00:00Z"`
	softDeletion = `"id":"u1","updated_at":"2026-11-21T01:00:00Z","deleted_at":"2026-11-21T01:00:00Z"`
)

// clientBodies are all bodies that bring a user, with each part that a client writes.
func clientBodies() []clientBody {
	var list []clientBody
	add := func(name string, endpoint Endpoint, of func(testing.TB) *Source, body string) {
		list = append(list, clientBody{
			name: name, endpoint: endpoint, of: of, body: body, meta: strings.Contains(body, `_metadata":%s`) || strings.Contains(body, `raw_user_meta_data":%s`),
			gone: strings.Contains(body, "deleted_at") || strings.Contains(body, "DELETE"),
		})
	}
	clerk := func(part string) {
		user := `{` + clerkState + `,` + part + `}`
		add("user.updated "+part, Hook, clerkSource, `{"type":"user.updated","timestamp":1760000000480,"data":`+user+`}`)
		add("session.created "+part, Hook, clerkSource, `{"type":"session.created","timestamp":1760000000480,"data":{"id":"sess_1","user":`+user+`}}`)
	}
	for _, part := range []string{"unsafe_metadata", "username", "first_name", "last_name", "image_url", "phone_numbers", "external_accounts", "web3_wallets", "passkeys"} {
		clerk(`"` + part + `":%s`)
	}
	add("user agent", Hook, clerkSource, `{"type":"user.updated","data":{`+clerkState+`},"event_attributes":{"http_request":{"user_agent":%s}}}`)
	for _, state := range []string{supabaseState, softDeletion} {
		for _, part := range []string{"user_metadata", "identities", "new_email", "factors"} {
			add("hook "+part, Hook, supabaseSource, hookBody(hookAfter, `,"user":{`+state+`,"`+part+`":%s}`))
		}
		row := `{` + state + `,"raw_user_meta_data":%s}`
		add("row update", Database, supabaseSource, `{"type":"UPDATE","schema":"auth","table":"users","record":`+row+`,"old_record":{"id":"u1"}}`)
		add("old row", Database, supabaseSource, `{"type":"UPDATE","schema":"auth","table":"users","old_record":{"id":"u1","raw_user_meta_data":{"x":%s}},"record":{`+state+`}}`)
		add("row delete", Database, supabaseSource, `{"type":"DELETE","schema":"auth","table":"users","record":null,"old_record":`+row+`}`)
	}
	return list
}

// hostileValues are what a client may write.
func hostileValues() []string {
	nested := func(open, inside, end string, n int) string {
		return strings.Repeat(open, n) + inside + strings.Repeat(end, n)
	}
	return []string{
		`null`, `{}`, `"text"`, `[1]`, `5`, `true`,
		`{"first_name":"Ada","banned":false,"email":"x@example.com","id":"other","deleted_at":null,"updated_at":"2999-01-01T00:00:00Z"}`,
		`{"a":1,"a":2,"email":"a","email":"b"}`,
		`{"a":"\u0000\ud800","\u0000":[1e131072,-1e-16384,1e99999999999]}`,
		`{"a":` + nested("[", "", "]", 199) + `}`, `{"a":` + nested("[", "", "]", 200) + `}`,
		nested(`{"a":`, `1`, `}`, 9_000), nested(`{"a":`, `1`, `}`, 20_000), nested(`[`, ``, `]`, 300_000),
		`{"list":[` + strings.Repeat(`1e131071,`, 50_000) + `1]}`,
		`{"` + strings.Repeat("k", 1<<20) + `":1}`,
		`[` + strings.Repeat(`{"id":"e1","email_address":"other@example.com"},`, 10_000) + `{"id":"e1"}]`,
		`{` + strings.Repeat(`"k":"v",`, 100_000) + `"k":1}`,
	}
}

// A ban, a change of the e-mail address and a deletion arrive whatever a client writes.
func TestClientDataStopsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range clientBodies() {
		for _, value := range hostileValues() {
			c.check(t, value)
		}
	}
}

// FuzzClientData puts arbitrary JSON into each part of a body that a client writes.
func FuzzClientData(f *testing.F) {
	bodies := clientBodies()
	for i, value := range hostileValues() {
		f.Add(uint8(i), []byte(value))
	}
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		bodies[int(which)%len(bodies)].check(t, string(jsonValue(t, value)))
	})
}

// jsonValue is a value as it is, or as a text where it is no JSON.
func jsonValue(t testing.TB, value []byte) []byte {
	t.Helper()
	if value = rawjson.ToUTF8(value); rawjson.Valid(value) {
		return value
	}
	return must.Get(json.Marshal(string(value)))(t)
}

func (c *clientBody) check(t *testing.T, value string) {
	t.Helper()
	s := c.of(t)
	body := []byte(strings.Replace(c.body, "%s", value, 1))
	// Each delivery is of its own, so that what is stored can be compared with what came.
	r := Request{Endpoint: c.endpoint, Header: http.Header{}, Body: bytes.Clone(body), ReceivedAt: now}
	e := s.Decode(r)
	name := fmt.Sprintf("%s with %.60s", c.name, value)
	want := event.Upsert
	if c.gone {
		want = event.Delete
	}
	if e.Op != want {
		t.Errorf("%s: %s: %s", name, opNames[e.Op], e.Reason)
		return
	}
	u := e.User
	if c.gone != u.Dead() || !c.gone && (!u.Banned || str(u.Email) != "new@example.com" || !u.EmailVerified) {
		t.Errorf("%s: dead %t, banned %t, e-mail %s, verified %t", name, u.Dead(), u.Banned, str(u.Email), u.EmailVerified)
	}
	checkUser(t, u)
	c.checkKept(t, name, value, u)
	if bytes.Equal(e.Body, body) {
		return // nothing was taken out of it: it decodes to the same
	}
	replay(t, s, e)
}

// checkKept holds what is kept against an own look at the value, by encoding/json.
func (c *clientBody) checkKept(t *testing.T, name, value string, u *event.User) {
	t.Helper()
	accounts := strings.Contains(c.body, `external_accounts":%s`)
	of := rawjson.Kind([]byte(value))
	unusable := (c.meta && of == '{' || accounts && of == '[') && !c.gone && (levels(t, value) > maxNesting || strings.Count(value, "1e131071") > 8)
	want := []string(nil)
	switch {
	case unusable && accounts:
		want = []string{"external_accounts"}
	case unusable && u.Source == "clerk":
		want = []string{"raw_user_meta_data"}
	case unusable:
		want = []string{"avatar_url", "first_name", "full_name", "last_name", "raw_user_meta_data", "username"}
	}
	must.True(t, slices.Equal(u.Kept, want) && (u.KeptBecause != "") == unusable,
		"%s: keeps %v because %q", name, u.Kept, u.KeptBecause)
	if unusable && (u.RawUserMetaData != "{}" || u.Source != "clerk" && u.FullName != nil) {
		t.Errorf("%s: %.60s, %s", name, u.RawUserMetaData, str(u.FullName))
	}
}

// levels is how deep a value nests.
func levels(t *testing.T, value string) (deepest int) {
	t.Helper()
	tokens := json.NewDecoder(strings.NewReader(value))
	tokens.UseNumber()
	for depth := 0; ; deepest = max(deepest, depth) {
		token, err := tokens.Token()
		if errors.Is(err, io.EOF) {
			return deepest
		}
		must.Do(t, err)
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// Where a value can't be used, the columns that follow from it keep what they have, and
// nothing else does.
func TestKept(t *testing.T) {
	t.Parallel()
	deep := `{"first_name":"X","a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`
	names := "avatar_url first_name full_name last_name raw_user_meta_data username"
	clerk := func(fields string) *event.User { return clerkUserOf(t, fields) }
	row := func(fields string) *event.User { return userOf(t, supabaseSource(t), `{"id":"u1"`+fields+`}`) }
	for _, test := range []struct {
		of     func(string) *event.User
		fields string
		want   string
	}{
		{clerk, `,"unsafe_metadata":` + deep, "raw_user_meta_data"},
		{clerk, `,"public_metadata":` + deep, "raw_app_meta_data"},
		{clerk, `,"unsafe_metadata":` + deep + `,"unsafe_metadata":{"a":1}`, ""},
		{clerk, `,"unsafe_metadata":{},"unsafe_metadata":` + deep, "raw_user_meta_data"},
		{clerk, `,"private_metadata":` + deep, ""},
		{clerk, `,"created_at":"x","updated_at":1e99,"last_sign_in_at":[]`, "created_at last_sign_in_at updated_at"},
		{clerk, `,"created_at":"x","created_at":5`, ""},
		{clerk, `,"created_at":null`, ""},
		{row, `,"raw_user_meta_data":` + deep, names},
		{row, `,"user_metadata":` + deep, names},
		{row, `,"raw_app_meta_data":` + deep, "raw_app_meta_data"},
		{row, `,"raw_user_meta_data":` + deep + `,"raw_user_meta_data":null`, ""},
		{row, `,"banned_until":"soon"`, "banned banned_until"},
		{row, `,"updated_at":"infinity"`, "updated_at"},
		{row, `,"updated_at":"10000-01-01T00:00:00+00:00"`, "updated_at"},
		{row, `,"updated_at":"24:00:00","created_at":5`, "created_at updated_at"},
		{row, `,"updated_at":"-infinity","created_at":"0044-03-15T00:00:00+00:19:32 BC","banned_until":"infinity","last_sign_in_at":""`, ""},
		{row, `,"email_confirmed_at":"soon","deleted_at":"soon"`, ""},
	} {
		u := test.of(test.fields)
		if got := strings.Join(u.Kept, " "); got != test.want || (got != "") != (u.KeptBecause != "") {
			t.Errorf("%.60s: keeps %q because %q", test.fields, got, u.KeptBecause)
		}
		if u.FirstName != nil || u.EmailVerified || u.Banned != strings.Contains(test.fields, `"banned_until":"infinity"`) {
			t.Errorf("%.60s: %+v", test.fields, u)
		}
		must.True(t, !slices.Contains(u.Kept, "updated_at") || u.Version == now.UnixMicro(),
			"%.60s: version %d", test.fields, u.Version)
	}
}
