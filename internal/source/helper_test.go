package source

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Secrets for tests, obviously made up.
const (
	clerkSecret    = "whsec_bWFkZSB1cCBmb3IgdGVzdHMsIGNsZXJrIG9uZSEh"
	clerkSecret2   = "whsec_bWFkZSB1cCBmb3IgdGVzdHMsIGNsZXJrIHR3byEh"
	supabaseSecret = "v1,whsec_bWFkZSB1cCBmb3IgdGVzdHMsIHN1cGFiYXNlIDEhISE="
	databaseSecret = "made-up-database-secret"
	instance       = "ins_2abcInstance000000000000000"
)

// now is a moment after everything in the test data.
var now = time.Date(2026, 11, 21, 3, 0, 0, 123456000, time.UTC)

func build(t testing.TB, cfg Config) *Source {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return now }
	}
	return must.Get(New(cfg))(t)
}

func clerkSource(t testing.TB) *Source {
	return build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}, InstanceID: instance})
}

func supabaseSource(t testing.TB) *Source {
	return build(t, Config{
		Name: "supabase", Provider: Supabase, SigningSecrets: []string{supabaseSecret},
		WebhookHeader: "X-Webhook-Secret", WebhookSecrets: []string{databaseSecret},
	})
}

// signed is a request that the source's provider could have sent.
func signed(t testing.TB, s *Source, d Endpoint, body string) Request {
	t.Helper()
	header := must.Get(s.SignAs(d, []byte(body), "msg_made_up", now))(t)
	return Request{Endpoint: d, Header: header, Body: []byte(body), ReceivedAt: now}
}

// decode verifies and decodes a body at the endpoint of hooks.
func decode(t testing.TB, s *Source, body string) event.Event {
	t.Helper()
	return decodeAt(t, s, Hook, body)
}

func decodeAt(t testing.TB, s *Source, d Endpoint, body string) event.Event {
	t.Helper()
	r := signed(t, s, d, body)
	must.Do(t, s.Verify(r))
	return s.Decode(r)
}

// userOf decodes a user that is given as an object.
func userOf(t testing.TB, s *Source, object string) *event.User {
	t.Helper()
	return must.Get(s.DecodeUser([]byte(object), now))(t)
}

// wantNoUser wants errors for objects that are no users, without what stands in them.
func wantNoUser(t testing.TB, s *Source, objects ...string) {
	t.Helper()
	for _, object := range objects {
		u, err := s.DecodeUser([]byte(object), now)
		must.True(t, err != nil && u == nil && !strings.Contains(err.Error(), "secret"), "%.40s: %+v, %v", object, u, err)
	}
}

// capture is a recorded request of Supabase Auth with the secrets that verify it.
type capture struct {
	Hook     string            `json:"hook"`
	Headers  map[string]string `json:"headers"`
	Body     string            `json:"body"`
	Secrets  []string          `json:"secrets"`
	Received int64             `json:"received_at_unix"`
}

func (c capture) request() Request {
	header := http.Header{}
	for name, value := range c.Headers {
		header.Set(name, value)
	}
	return Request{Header: header, Body: []byte(c.Body), ReceivedAt: time.Unix(c.Received, 0)}
}

func (c capture) source(t testing.TB) *Source {
	return build(t, Config{Name: "supabase", Provider: Supabase, SigningSecrets: c.Secrets})
}

// captures loads every recorded request, by file name.
func captures(t testing.TB) map[string]capture {
	t.Helper()
	all := map[string]capture{}
	for name, text := range files(t, "supabase") {
		var c capture
		must.Do(t, json.Unmarshal([]byte(text), &c))
		all[name] = c
	}
	return all
}

// files loads the files of a folder of testdata, by name without the extension.
func files(t testing.TB, folder string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test data in %s: %v", folder, err)
	}
	all := map[string]string{}
	for _, path := range paths {
		text := must.Get(os.ReadFile(path))(t)
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = string(text)
	}
	return all
}

var opNames = map[event.Op]string{
	event.Upsert: "upsert", event.Delete: "delete", event.Announce: "announce",
	event.Undecodable: "undecodable", event.Ignore: "ignore",
}

// view is an event in a form to read in a golden file.
type view struct {
	Source, ID, Type, Op, UserID string
	Reason, Reply, Body          string              `json:",omitempty"`
	User                         *event.User         `json:",omitempty"`
	Organization                 *event.Organization `json:",omitempty"`
	Membership                   *event.Membership   `json:",omitempty"`
}

func viewOf(e event.Event, received []byte) view {
	v := view{
		Source: e.Source, ID: e.ID, Type: e.Type, Op: opNames[e.Op], UserID: e.UserID,
		Reason: e.Reason, Reply: string(e.Reply), Body: string(e.Body), User: e.User,
		Organization: e.Organization, Membership: e.Membership,
	}
	// What exactly is left out is for the tests of redaction.
	if left := len(received) - len(e.Body); e.Body != nil && left == 0 {
		v.Body = "as received"
	} else if e.Body != nil {
		v.Body = fmt.Sprintf("%d bytes left out", left)
	}
	return v
}

func golden(t *testing.T, name string, v view) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".json")
	var got strings.Builder
	encoder := json.NewEncoder(&got)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	must.Do(t, encoder.Encode(v))
	if *update {
		must.Do(t, os.WriteFile(path, []byte(got.String()), 0o644))
	}
	want := must.Get(os.ReadFile(path))(t)
	must.Equal(t, got.String(), string(want), name)
}

// str reads an optional text, with a word for absent.
func str(s *string) string {
	if s == nil {
		return "<absent>"
	}
	return *s
}

func stamp3339(t *time.Time) string {
	if t == nil {
		return "<absent>"
	}
	return t.Format(time.RFC3339Nano)
}
