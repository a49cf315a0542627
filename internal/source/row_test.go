package source

import (
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

func TestDatabaseOps(t *testing.T) {
	const where = `,"schema":"auth","table":"users"`
	for body, want := range map[string]string{
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
	} {
		e := decodeAt(t, supabaseSource(t), Database, body)
		if got := opNames[e.Op] + " " + e.Type; got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
		checkEvent(t, e)
	}
}

func TestDatabaseDeletions(t *testing.T) {
	const soft = `{"type":"UPDATE","schema":"auth","table":"users","record":{"id":"u1","updated_at":"2026-11-21T01:00:00+00:00","deleted_at":"2026-11-21T01:00:01+00:00"}}`
	const hard = `{"type":"DELETE","schema":"auth","table":"users","old_record":{"id":"u1","updated_at":"2026-11-21T01:00:00+00:00"}}`
	const both = `{"type":"DELETE","schema":"auth","table":"users","old_record":{"id":"u1","updated_at":"2026-11-21T01:00:00+00:00","deleted_at":"2026-11-20T00:00:00+00:00"}}`
	for body, want := range map[string]string{
		soft: "2026-11-21T01:00:01Z", hard: "2026-11-21T03:00:00.123456Z", both: "2026-11-20T00:00:00Z",
	} {
		e := decodeAt(t, supabaseSource(t), Database, body)
		if e.Op != event.Delete || stamp3339(e.User.DeletedAt) != want || e.User.Version != 1795222800000000 {
			t.Errorf("%s: %s %+v", body, opNames[e.Op], e.User)
		}
	}
}

func TestDecodeUser(t *testing.T) {
	s := supabaseSource(t)
	u := must.Get(s.DecodeUser([]byte(`{"id":"u1","email":"a@example.com","raw_user_meta_data":{"name":"A\u0000"},"banned_until":"2026-11-21T03:00:01Z"}`), now))(t)
	if str(u.Email) != "a@example.com" || str(u.FullName) != "A\uFFFD" || u.RawUserMetaData != "{\"name\":\"A\uFFFD\"}" || !u.Banned {
		t.Errorf("%+v", u)
	}
	if u, err := s.DecodeUser([]byte("{\"id\":\"u1\",\"raw_app_meta_data\":{\"a\":\"\xff\"}}"), now); err != nil || u.RawAppMetaData != "{\"a\":\"\uFFFD\"}" {
		t.Errorf("not UTF-8: %+v, %v", u, err)
	}
	if u, err := s.DecodeUser([]byte(`{"id":"u1","deleted_at":"2026-11-21T03:00:01Z"}`), now); err != nil || !u.Dead() {
		t.Errorf("soft-deleted: %+v, %v", u, err)
	}
	for _, row := range []string{``, `null`, `[]`, `{"id":`, `{"email":"secret@example.com"}`} {
		u, err := s.DecodeUser([]byte(row), now)
		if err == nil || u != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40s: %v, %v", row, u, err)
		}
	}
}

// The times are those that the auth server stores in its table: it cuts off what is below a
// microsecond. The rest comes from a PostgreSQL that read the same text.
func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
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
	} {
		got, _ := timeOf([]byte(`"` + text + `"`))
		if got := stamp3339(moment(&got)); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for _, value := range []string{"null", "5", "true", "[]", ""} {
		if got, _ := timeOf([]byte(value)); got != (time.Time{}) {
			t.Errorf("%s: got %s", value, got)
		}
	}
}
