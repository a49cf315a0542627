package testevent

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/source"
)

func TestSet(t *testing.T) {
	for _, test := range []struct{ text, path, word, want string }{
		{`{"a": 1, "b":2}`, "a", "x", `{"a": "x", "b":2}`},
		{`{"a":{"b":{"c":1}}}`, "a.b.c", "null", `{"a":{"b":{"c":null}}}`},
		{`{"a":1,"a":2}`, "a", "3", `{"a":1,"a":3}`},
		{`{}`, "a.b", "true", `{"a":{"b":true}}`},
		{"{ \"a\":1 \n}\n", "b", "Zoé", "{ \"a\":1,\"b\":\"Zoé\" \n}"},
		{`{"a":null}`, "a.b", "<&>", `{"a":{"b":"<&>"}}`},
		{`{"a":null}`, "a.0", "1", `{"a":[1]}`},
		{`{"a":[1,2]}`, "a.1", `{"x": [ 1 ]}`, `{"a":[1,{"x":[1]}]}`},
		{`{"a":[1,{"b":2}]}`, "a[1].b", "it's", `{"a":[1,{"b":"it's"}]}`},
		{`{"a":[1]}`, "a[1]", "+15555550100", `{"a":[1,"+15555550100"]}`},
		{`{"a":[]}`, "a.0.b", `"7"`, `{"a":[{"b":"7"}]}`},
		{`[[0],[0]]`, "1.0", "5", `[[0],[5]]`},
		{`{"a\u002eb":1,"n":12345678901234567890}`, "c", "", `{"a\u002eb":1,"n":12345678901234567890,"c":""}`},
	} {
		got, err := set([]byte(test.text), test.path, valueOf(test.word))
		if err != nil || string(got) != test.want || !json.Valid(got) {
			t.Errorf("%s in %s to %s: got %s, %v, want %s", test.path, test.text, test.word, got, err, test.want)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for _, test := range []struct{ text, path, want string }{
		{`{"a":`, "a", "the body is not JSON"},
		{`{"a":1}`, "", "write a path such as"},
		{`{"a":1}`, "a..b", "write a path such as"},
		{`{"a":1}`, "a.b", "there is no b in a number"},
		{`{"a":"x"}`, "a.b.c", "there is no b in a text"},
		{`{"a":true}`, "a.b", "there is no b in true or false"},
		{`{"a":[1]}`, "a.b", "there is no b in a list; give an index"},
		{`{"a":[1]}`, "a[2]", "the list has 1 elements; 2 is none of them"},
		{`{"a":[1]}`, "a[-1]", "the list has 1 elements"},
	} {
		if got, err := set([]byte(test.text), test.path, []byte("0")); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s in %s: got %s, %v, want an error with %q", test.path, test.text, got, err, test.want)
		}
	}
}

// What a template makes is read as the event about the person it was filled with.
func TestTemplates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC)
	p := Person{"5a3f1e00-0000-4000-8000-00000000beef", "zoe@load.example", "zoe_1", "+99000000000017", "Zoé", "Quist",
		Team{"org_1", "quists", "Quists & Sons", "user_founder", "orgmem_1"}}
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
			checkTeam(t, string(body), got, want)
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

// checkTeam wants the team of TestTemplates in a body, as far as the sample has one.
func checkTeam(t *testing.T, body string, got, want event.Event) {
	t.Helper()
	name := want.Type
	if o := want.Organization; o != nil {
		must.Equal(t, got.Organization.ID, "org_1", name, ": organization")
		must.Equal(t, o.Dead() || *got.Organization.Name == "Quists & Sons" && *got.Organization.CreatedBy == "user_founder", true, name, ": ", got.Organization)
		must.True(t, o.Dead() || strings.Contains(body, `"slug":"quists"`), "%s: %s", name, body)
	}
	if want.Membership != nil {
		must.Equal(t, []string{got.Membership.ID, *got.Membership.UserID}, []string{"orgmem_1", "5a3f1e00-0000-4000-8000-00000000beef"}, name, ": membership")
		must.True(t, strings.Contains(body, `"identifier":"zoe@load.example","username":"zoe_1","first_name":"Zoé","last_name":"Quist"`), "%s: %s", name, body)
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
