package testevent

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/source"
)

// What a template makes is read as the event about the person it was filled with.
func TestTemplates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC)
	p := Person{"5a3f1e00-0000-4000-8000-00000000beef", "zoe@load.example", "zoe_1", "+99000000000017", "Zoé", "Quist"}
	for _, s := range []*source.Source{clerkSource(t), supabaseSource(t)} {
		provider := s.Provider()
		for _, sample := range samplesOf(s) {
			tmpl, ok := NewTemplate(s, sample.Name)
			if !ok || tmpl.Endpoint != sample.Endpoint {
				t.Fatalf("%s %s: found %v, endpoint %v", provider, sample.Name, ok, tmpl.Endpoint)
			}
			body := tmpl.Append([]byte("before"), p, now)
			body, ok = bytes.CutPrefix(body, []byte("before"))
			if !ok || bytes.ContainsAny(body, "\x00$") {
				t.Errorf("%s %s: %s", provider, sample.Name, body)
			}
			got := s.Decode(source.Request{Endpoint: tmpl.Endpoint, Body: body, ReceivedAt: now})
			want := s.Decode(source.Request{Endpoint: tmpl.Endpoint, Body: sample.Body(now), ReceivedAt: now})
			if got.Type != want.Type || got.Op != want.Op || got.UserID != p.ID && want.UserID != "" {
				t.Errorf("%s %s: got %v %v %s", provider, sample.Name, got.Type, got.Op, got.UserID)
			}
			if want.User == nil || want.User.Email == nil {
				continue // a delete, or nobody
			}
			if diff := cmp.Diff([]string{p.ID, p.Email, p.FirstName, p.LastName, "Zoé Quist"},
				[]string{got.User.ID, *got.User.Email, *got.User.FirstName, *got.User.LastName, *got.User.FullName}); diff != "" {
				t.Errorf("%s %s: %s", provider, sample.Name, diff)
			}
			if got.User.Version != want.User.Version || !got.User.CreatedAt.Equal(*want.User.CreatedAt) {
				t.Errorf("%s %s: dated %d, want %d", provider, sample.Name, got.User.Version, want.User.Version)
			}
			if want.User.Phone != nil && (*got.User.Phone != p.Phone || *got.User.Username != p.Username) {
				t.Errorf("%s %s: phone %s, username %s", provider, sample.Name, *got.User.Phone, *got.User.Username)
			}
		}
	}
	if _, ok := NewTemplate(clerkSource(t), "user.married"); ok {
		t.Error("there is a template of an event nobody knows")
	}
}

// A message that holds its own id is a new one each time.
func TestTemplateRenews(t *testing.T) {
	t.Parallel()
	s := supabaseSource(t)
	tmpl, _ := NewTemplate(s, "after-user-created")
	ids := map[string]bool{}
	for range 3 {
		body := tmpl.Append(nil, Person{ID: "5a3f1e00-0000-4000-8000-00000000beef"}, time.Now())
		ids[s.Decode(source.Request{Body: body}).ID] = true
	}
	if len(ids) != 3 {
		t.Errorf("the ids are %v", ids)
	}
}
