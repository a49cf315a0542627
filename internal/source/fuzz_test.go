package source

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/rawjson"
)

// FuzzDecode feeds every endpoint. Whatever arrives, the event is one that the database
// takes, and what is stored of it holds no secret and decodes to the same again.
func FuzzDecode(f *testing.F) {
	for _, c := range captures(f) {
		f.Add(uint8(1), c.Headers["Webhook-Id"], []byte(c.Body))
	}
	for _, body := range files(f, "clerk") {
		f.Add(uint8(0), "msg_1", []byte(body))
	}
	for _, body := range files(f, "database") {
		f.Add(uint8(2), "", []byte(body))
	}
	f.Add(uint8(0), "\xff", []byte(clerkEvent(`,"unsafe_metadata":{"\u0000":[1e999999,"\ud800"]},"private\u005fmetadata":{"a":1}`)))
	clerk, supabase := clerkSource(f), supabaseSource(f)
	f.Fuzz(func(t *testing.T, way uint8, id string, body []byte) {
		s, endpoint := clerk, Hook
		if way%3 > 0 {
			s = supabase
		}
		if way%3 == 2 {
			endpoint = Database
		}
		r := Request{Endpoint: endpoint, Body: bytes.Clone(body), ReceivedAt: now}
		r.Header = map[string][]string{"Svix-Id": {id}}
		e := s.Decode(r)
		checkEvent(t, e)
		must.True(t, bytes.Equal(r.Body, body), "the request's body was changed")
		if e.Body != nil && e.Op != event.Undecodable {
			replay(t, s, e)
		}
		checkObject(t, supabase, body)
		checkObject(t, clerk, body)
		if s == clerk && e.Op == event.Upsert && !strings.HasPrefix(e.Type, "session.") && e.Type != Other {
			checkSame(t, s, e, rawjson.Member(rawjson.Object(rawjson.ToUTF8(body)), "data"))
		}
	})
}

// FuzzRepair compares the repair of metadata with a repair on decoded values.
func FuzzRepair(f *testing.F) {
	for _, seed := range []string{`{"a":"\u0000"}`, `{"a":[1e99999999,"\ud83d\ude00\ud800"],"\udc00":{}}`, `{"a":"\\u0000\\\u0000"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		value = rawjson.ToUTF8(value)
		if rawjson.Object(value) == nil {
			return
		}
		got, reason := metadataOf(rawjson.Object(value))
		checkMetadata(t, got)
		if reason != "" {
			return
		}
		if diff := cmp.Diff(repaired(tree(t, value)), repaired(tree(t, []byte(got)))); diff != "" {
			t.Errorf("%s became %s: %s", value, got, diff)
		}
	})
}

func tree(t *testing.T, value []byte) any {
	t.Helper()
	var decoded any
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	must.Do(t, decoder.Decode(&decoded))
	return decoded
}

func repaired(value any) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(v, "\x00", replacement)
	case json.Number:
		return v.String()
	case []any:
		for i := range v {
			v[i] = repaired(v[i])
		}
		return v
	case map[string]any:
		// Keys may fall together once repaired; which one wins is jsonb's affair.
		whole := map[string]any{}
		for key, member := range v {
			if strings.ContainsAny(key, "\x00"+replacement) {
				key, member = "repaired", nil
			}
			whole[key] = repaired(member)
		}
		return whole
	}
	return value
}

// checkEvent asserts what every event promises, whatever it was made of.
func checkEvent(t testing.TB, e event.Event) {
	t.Helper()
	for name, id := range map[string]string{"event": e.ID, "user": e.UserID} {
		must.True(t, len(id) <= 255, "the %s's id has %d bytes", name, len(id))
		checkText(t, id)
	}
	checkText(t, e.Type)
	must.True(t, e.Op >= event.Upsert && e.Op <= event.Ignore, "no such op: %d", e.Op)
	carries := e.User != nil || e.Organization != nil || e.Membership != nil
	must.True(t, carries == (e.Op == event.Upsert || e.Op == event.Delete), "op %s with %+v", opNames[e.Op], e)
	must.True(t, (e.Reason != "") == (e.Op == event.Undecodable || e.Op == event.Ignore),
		"op %s with the reason %q", opNames[e.Op], e.Reason)
	if e.Op == event.Ignore && e.Body != nil || e.Op != event.Ignore && e.Reply != nil {
		t.Errorf("op %s with body %s and reply %s", opNames[e.Op], e.Body, e.Reply)
	}
	must.True(t, e.Reply == nil || json.Valid(e.Reply), "the reply is no JSON: %s", e.Reply)
	if e.User != nil {
		checkUser(t, e.User)
	}
	checkTeam(t, e)
	checkBody(t, e)
}

func checkUser(t testing.TB, u *event.User) {
	t.Helper()
	checkText(t, u.ID)
	for _, s := range []*string{u.ExternalID, u.Email, u.Phone, u.Username, u.FirstName, u.LastName, u.FullName, u.AvatarURL} {
		must.True(t, s == nil || *s != "", "an empty text should be absent")
		checkText(t, str(s))
	}
	checkTimes(t, u.EmailConfirmedAt, u.PhoneConfirmedAt, u.BannedUntil, u.CreatedAt, u.UpdatedAt, u.LastSignInAt, u.DeletedAt)
	if u.ID == "" || u.Dead() && (u.RawAppMetaData != "" || u.Email != nil) {
		t.Errorf("%+v", u)
	}
	if !u.Dead() {
		checkMetadata(t, u.RawUserMetaData)
		checkMetadata(t, u.RawAppMetaData)
	}
}

func checkTimes(t testing.TB, times ...*time.Time) {
	t.Helper()
	for _, at := range times {
		if at != nil && (at.Year() < 2 || at.Year() > 9999 || at.Nanosecond()%1000 != 0 || at.Location() != time.UTC) {
			t.Errorf("a time that PostgreSQL would change: %s", at)
		}
	}
}

func checkText(t testing.TB, s string) {
	t.Helper()
	must.True(t, utf8.ValidString(s) && !strings.Contains(s, "\x00"), "PostgreSQL refuses %q", s)
}

func checkMetadata(t testing.TB, metadata string) {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(metadata), &object); err != nil || object == nil {
		t.Errorf("not a JSON object: %q", metadata)
	}
	must.True(t, !strings.Contains(strings.ReplaceAll(metadata, `\\`, ""), `\u0000`) && utf8.ValidString(metadata),
		"jsonb refuses %q", metadata)
	must.True(t, !rawjson.Deeper([]byte(metadata), maxNesting), "too deep: %q", metadata)
}

// checkBody looks for members that must not be stored, with encoding/json's eyes.
func checkBody(t testing.TB, e event.Event) {
	t.Helper()
	must.True(t, utf8.Valid(e.Body), "the body is not UTF-8: %q", e.Body)
	var document any
	if e.Body == nil || json.Unmarshal(e.Body, &document) != nil {
		return
	}
	database := strings.HasPrefix(e.Type, "database.")
	look(document, nil, func(path []string, value any) {
		name := path[len(path)-1]
		if e.Membership != nil && len(path) > 3 && path[1] == "organization" {
			path = path[1:]
		}
		inMetadata := len(path) > 2 && e.Op != event.Undecodable && strings.HasSuffix(path[1], "_metadata") ||
			len(path) > 2 && e.Op != event.Undecodable && strings.HasSuffix(path[1], "_meta_data")
		secret := database && isSecretWord([]byte(name))
		if object, ok := value.(map[string]any); name == privateMetadata && value != nil && !(ok && len(object) == 0) {
			secret = e.Source == "clerk" || e.Op == event.Undecodable
		}
		must.True(t, !secret || inMetadata, "stored %v: %s", path, e.Body)
	})
}

// look visits every member of a document; array elements add "[]" to the path.
func look(value any, path []string, visit func(path []string, value any)) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			look(element, append(path[:len(path):len(path)], "[]"), visit)
		}
	case map[string]any:
		for key, member := range v {
			next := append(path[:len(path):len(path)], key)
			visit(next, member)
			look(member, next, visit)
		}
	}
}

// checkSame holds what the API returns against the same in an event.
func checkSame(t testing.TB, s *Source, e event.Event, object []byte) {
	t.Helper()
	got := event.Event{}
	var err error
	switch {
	case e.Membership != nil:
		got.Membership, got.Organization, err = s.DecodeMembership(object, now)
	case e.Organization != nil:
		got.Organization, err = s.DecodeOrganization(object, now)
	default:
		got.User, err = s.DecodeUser(object, now)
	}
	want := event.Event{User: e.User, Organization: e.Organization, Membership: e.Membership}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("of the API: %v; -event +API\n%s", err, diff)
	}
}

func checkObject(t testing.TB, s *Source, object []byte) {
	t.Helper()
	if u, err := s.DecodeUser(object, now); err == nil {
		checkUser(t, u)
	} else if u != nil {
		t.Error("a user and an error")
	}
}
