package testevent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/rawjson"
	"rollcall/internal/source"
)

// Every sample passes its endpoint, and decodes to what its type promises.
func TestSamplesDecode(t *testing.T) {
	for _, s := range []*source.Source{clerkSource(t), supabaseSource(t)} {
		samples := samplesOf(s)
		for i, x := range samples {
			t.Run(s.Provider()+"/"+x.Name, func(t *testing.T) {
				e := decodeAt(t, s, x.Endpoint, string(x.Body(now)))
				i := slices.IndexFunc(s.Types(x.Endpoint), func(known source.Type) bool { return known.Name == x.Name })
				if i < 0 || e.Type != x.Name || e.Op != s.Types(x.Endpoint)[i].Op {
					t.Fatalf("got %s %s, reason %q", e.Type, opNames[e.Op], e.Reason)
				}
				team := e.Organization != nil && e.Membership == nil
				if e.Op != event.Ignore && !team && e.UserID != decodeSample(t, s, samples[0], now).UserID {
					t.Errorf("the user %s is another one than that of %s", e.UserID, samples[0].Name)
				}
				if left := strings.Index(string(x.Body(now)), `"$`); left >= 0 {
					t.Errorf("something is not filled in: %.40s", x.Body(now)[left:])
				}
				if e.Type == "customize-access-token" && string(e.Reply) == "" {
					t.Error("there are no claims to give back")
				}
			})
			if names := Names(s.Provider()); names[i] != x.Name || len(names) != len(samples) {
				t.Errorf("the names %v are not those of the samples", names)
			}
		}
	}
}

// decodeSample decodes a sample made at a moment, as if it arrived right then.
func decodeSample(t *testing.T, s *source.Source, x Sample, at time.Time) event.Event {
	t.Helper()
	return s.Decode(source.Request{Endpoint: x.Endpoint, Body: x.Body(at), ReceivedAt: at})
}

func TestSampleFields(t *testing.T) {
	clerk, supabase := clerkSource(t), supabaseSource(t)
	for _, test := range []struct {
		s                                        *source.Source
		name                                     string
		email, phone, first, last, full, created string
		verified                                 bool
	}{
		{clerk, "user.created", "ada@example.com", "+15555550100", "Ada", "Example", "Ada Example", "2026-11-21T03:00:00.123Z", true},
		{clerk, "user.updated", "ada@example.com", "+15555550100", "Ada", "Example-Lovelace", "Ada Example-Lovelace", "2026-11-21T02:00:00.123Z", true},
		{clerk, "session.created", "ada@example.com", "+15555550100", "Ada", "Example-Lovelace", "Ada Example-Lovelace", "2026-11-21T02:00:00.123Z", true},
		{supabase, "after-user-created", "ben@example.com", "<absent>", "Ben", "Example", "Ben Example", "2026-11-21T03:00:00.123456Z", false},
		{supabase, "database.insert", "ben@example.com", "<absent>", "Ben", "Example", "Ben Example", "2026-11-21T03:00:00.123456Z", false},
		{supabase, "database.update", "ben.example@example.com", "<absent>", "Benjamin", "Example", "Benjamin Example", "2026-11-21T02:00:00.123456Z", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			x, _ := Find(test.s, test.name)
			u := decodeSample(t, test.s, x, now).User
			got := []string{str(u.Email), str(u.Phone), str(u.FirstName), str(u.LastName), str(u.FullName), stamp3339(u.CreatedAt)}
			want := []string{test.email, test.phone, test.first, test.last, test.full, test.created}
			if !slices.Equal(got, want) || u.EmailVerified != test.verified || u.AvatarURL == nil || len(u.RawUserMetaData) < 10 || len(u.RawAppMetaData) < 10 {
				t.Errorf("got %v, want %v; verified %v, metadata %s %s", got, want, u.EmailVerified, u.RawUserMetaData, u.RawAppMetaData)
			}
		})
	}
}

// The samples of a team tell one story: who joins, gets a role, and leaves an organisation that is renamed.
func TestSamplesOfATeam(t *testing.T) {
	s := clerkSource(t)
	of := func(name string) event.Event {
		x, found := Find(s, name)
		must.True(t, found, "there is no sample %s", name)
		return decodeSample(t, s, x, now)
	}
	created, updated := of("organization.created").Organization, of("organization.updated").Organization
	joined, changed, left := of("organizationMembership.created"), of("organizationMembership.updated"), of("organizationMembership.deleted")
	must.Equal(t, []string{str(created.Name), str(updated.Name), str(left.Organization.Name)}, []string{"Example Engines", "Example Engines Ltd", "Example Engines Ltd"}, "names")
	must.Equal(t, []string{str(joined.Membership.Role), str(changed.Membership.Role)}, []string{"org:member", "org:admin"}, "roles")
	must.True(t, len(joined.Membership.Permissions) > 2 && str(created.CreatedBy) == joined.UserID && str(created.Slug) == "example-engines", "%+v %+v", created, joined.Membership)
	for _, e := range []event.Event{joined, changed, left} {
		must.Equal(t, []string{e.Organization.ID, e.Membership.ID}, []string{created.ID, joined.Membership.ID}, e.Type, ": ids")
		must.True(t, e.Organization.Version < created.Version, "%s: the organization in it is newer than the event about it", e.Type)
		must.Equal(t, e.Membership.CreatedAt.UnixMilli(), now.UnixMilli(), e.Type, ": when the membership began")
	}
	must.Equal(t, of("organization.deleted").Organization.ID, created.ID, "deleted")
}

// The n-th member of one organisation, and the n-th organisation.
func TestAnotherTeam(t *testing.T) {
	s := clerkSource(t)
	of := func(name string) (event.Event, string) {
		x, _ := Find(s, name)
		body := another(s, x.Endpoint, x.Body(now), 12)
		return s.Decode(source.Request{Body: body}), string(body)
	}
	for _, name := range []string{"organizationMembership.created", "organizationMembership.deleted"} {
		e, body := of(name)
		got := []string{e.Membership.ID, e.UserID, e.Organization.ID}
		must.Equal(t, got, []string{"orgmem_2RollcallSampleAda000000000_12", "user_2RollcallSampleAda0000000000_12", "org_2RollcallSampleTeam00000000000"}, name)
		must.Equal(t, str(e.Organization.CreatedBy), "user_2RollcallSampleAda0000000000", name, ": the creator stays")
		must.True(t, strings.Contains(body, `"identifier":"ada+12@example.com","username":"ada.example_12"`), "%s", body)
	}
	e, _ := of("organization.created")
	must.Equal(t, []string{e.Organization.ID, str(e.Organization.Slug)}, []string{"org_2RollcallSampleTeam00000000000_12", "example-engines_12"}, "organization")
	e, _ = of("organization.deleted")
	must.Equal(t, e.Organization.ID, "org_2RollcallSampleTeam00000000000_12", "deleted")
	for change, want := range map[string]bool{
		"data.role=x": false, "data.id=orgmem_x": true, "data.public_user_data.user_id=user_x": true, "data.organization.id=org_x": false,
	} {
		x, _ := Find(s, "organizationMembership.created")
		one := must.Get(NewDraft(s, x, []Change{must.Get(ParseChange(change))(t)}).AboutOne())(t)
		must.Equal(t, one, want, change, ": about one")
	}
	for change, want := range map[string]bool{"data.name=x": false, "data.id=org_x": true} {
		x, _ := Find(s, "organization.created")
		one := must.Get(NewDraft(s, x, []Change{must.Get(ParseChange(change))(t)}).AboutOne())(t)
		must.Equal(t, one, want, change, ": about one")
	}
}

// A sample sent again is another event, and it is newer.
func TestSamplesAreFresh(t *testing.T) {
	later := now.Add(2 * time.Millisecond)
	for _, s := range []*source.Source{clerkSource(t), supabaseSource(t)} {
		for _, x := range samplesOf(s) {
			first, second := decodeSample(t, s, x, now), decodeSample(t, s, x, later)
			if s.Provider() == source.Supabase && first.ID == second.ID {
				t.Errorf("%s: both have the id %s", x.Name, first.ID)
			}
			if x.Name == "database.delete" { // says nothing of when it happened: the receipt counts
				continue
			}
			if first.User != nil && first.User.Version >= second.User.Version {
				t.Errorf("%s: version %d is followed by %d", x.Name, first.User.Version, second.User.Version)
			}
		}
	}
}

// Only the configured instance is listened to, so the samples come from it.
func TestSamplesOfAnInstance(t *testing.T) {
	anyone := build(t, source.Config{Name: "clerk", Provider: source.Clerk})
	x, _ := Find(anyone, "user.created")
	if e := clerkSource(t).Decode(source.Request{Body: x.Body(now)}); e.Op != event.Ignore {
		t.Errorf("an event of another instance is %s", opNames[e.Op])
	}
	if _, found := Find(anyone, "../clerk/user.created"); found {
		t.Error("a path is no name")
	}
}

// A user of the API is the one that an event would have carried.
func TestUserOfTheAPI(t *testing.T) {
	s, compared := clerkSource(t), 0
	for _, x := range samplesOf(s) {
		body := x.Body(now)
		e := decodeAt(t, s, x.Endpoint, string(body))
		if e.Op != event.Upsert || e.User == nil {
			continue
		}
		compared++
		object := rawjson.Member(body, "data")
		if user := rawjson.Member(object, "user"); user != nil {
			object = user
		}
		u, err := s.DecodeUser(object, now)
		if diff := cmp.Diff(e.User, u); diff != "" || err != nil {
			t.Errorf("of the API: %v; -event +API\n%s", err, diff)
		}
	}
	if compared != 3 {
		t.Errorf("%d users compared", compared)
	}
}

func TestEndpointFor(t *testing.T) {
	for _, s := range []*source.Source{clerkSource(t), supabaseSource(t)} {
		for _, x := range samplesOf(s) {
			if got := endpointFor(s, x.Body(now)); got != x.Endpoint {
				t.Errorf("%s belongs to the %s endpoint, got %s", x.Name, x.Endpoint, got)
			}
		}
		if got := endpointFor(s, []byte("no JSON")); got != source.Hook {
			t.Errorf("what can't be read belongs to the hook endpoint, got %s", got)
		}
	}
}

// The n-th user differs in all that a table may hold once, and is the same one in every
// event about the user.
func TestAnother(t *testing.T) {
	for _, s := range []*source.Source{clerkSource(t), supabaseSource(t)} {
		ids := map[string]bool{}
		for _, x := range samplesOf(s) {
			for n := range 13 {
				r := source.Request{Endpoint: x.Endpoint, Body: another(s, x.Endpoint, x.Body(now), n), ReceivedAt: now}
				e := s.Decode(r)
				if e.Op == event.Undecodable {
					t.Fatalf("%s %d: %s", x.Name, n, e.Reason)
				}
				if e.UserID != "" {
					ids[e.UserID] = true
				}
			}
		}
		if len(ids) != 12 { // 0 and 1 are the same
			t.Errorf("%s: %d users in events about 12: %v", s.Provider(), len(ids), ids)
		}
	}
}

func TestAnotherUser(t *testing.T) {
	s := clerkSource(t)
	x, _ := Find(s, "user.created")
	u := s.Decode(source.Request{Body: another(s, x.Endpoint, x.Body(now), 12)}).User
	got := []string{u.ID, str(u.Email), str(u.Phone), str(u.Username), str(u.FirstName)}
	want := []string{"user_2RollcallSampleAda0000000000_12", "ada+12@example.com", "+15555550111", "ada.example_12", "Ada"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	body := `{"type":"user.created","data":{"id":"user_a","username":"first_name","first_name":"first_name"}}`
	if u := s.Decode(source.Request{Body: another(s, source.Hook, []byte(body), 2)}).User; str(u.FirstName) != "first_name_2" {
		t.Errorf("a key was taken for a value, the first name is %s", str(u.FirstName))
	}
	supabase := supabaseSource(t)
	y, _ := Find(supabase, "database.insert")
	e := supabase.Decode(source.Request{Endpoint: y.Endpoint, Body: another(supabase, y.Endpoint, y.Body(now), 2)})
	if _, err := uuid.Parse(e.UserID); err != nil || str(e.User.Email) != "ben+2@example.com" || !strings.Contains(e.User.RawUserMetaData, e.UserID) {
		t.Errorf("got %s %s %s", e.UserID, str(e.User.Email), e.User.RawUserMetaData)
	}
}

func TestRenewed(t *testing.T) {
	s := supabaseSource(t)
	body := []byte(` {"metadata": {"uuid":"m1","name":"after-user-created"},"user":{"id":"a"}}`)
	if first, second := string(renewed(s, source.Hook, body)), string(renewed(s, source.Hook, body)); first == second || strings.Contains(first, `"m1"`) {
		t.Errorf("got %s and %s", first, second)
	}
	for _, body := range []string{`{"metadata":{}}`, `{"metadata":7}`, "no JSON"} {
		if got := string(renewed(s, source.Hook, []byte(body))); got != body {
			t.Errorf("%s has no id, got %s", body, got)
		}
	}
}

// now is the moment that the samples are made at.
var now = time.Date(2026, 11, 21, 3, 0, 0, 123456000, time.UTC)

func build(t *testing.T, cfg source.Config) *source.Source {
	t.Helper()
	cfg.Now = func() time.Time { return now }
	return must.Get(source.New(cfg))(t)
}

func clerkSource(t *testing.T) *source.Source {
	t.Helper()
	return build(t, source.Config{
		Name: "clerk", Provider: source.Clerk, InstanceID: "ins_2abcInstance000000000000000",
		SigningSecrets: []string{"whsec_bWFkZSB1cCBmb3IgdGVzdHMsIGNsZXJrIG9uZSEh"},
	})
}

func supabaseSource(t *testing.T) *source.Source {
	t.Helper()
	return build(t, source.Config{
		Name: "supabase", Provider: source.Supabase, SigningSecrets: []string{"v1,whsec_bWFkZSB1cCBmb3IgdGVzdHMsIHN1cGFiYXNlIDEhISE="},
		WebhookHeader: "X-Webhook-Secret", WebhookSecrets: []string{"made-up-database-secret"},
	})
}

// samplesOf are the built-in events of a source, in the order of their story.
func samplesOf(s *source.Source) []Sample {
	var all []Sample
	for _, name := range Names(s.Provider()) {
		sample, _ := Find(s, name)
		all = append(all, sample)
	}
	return all
}

// decodeAt signs, verifies and decodes a body.
func decodeAt(t *testing.T, s *source.Source, d source.Endpoint, body string) event.Event {
	t.Helper()
	request := must.Get(Seal(s, d, []byte(body)))(t)
	r := source.Request{Endpoint: d, Header: request.Header, Body: request.Body, ReceivedAt: now}
	must.Do(t, s.Verify(r))
	return s.Decode(r)
}

var opNames = map[event.Op]string{
	event.Upsert: "upsert", event.Delete: "delete", event.Announce: "announce",
	event.Undecodable: "undecodable", event.Ignore: "ignore",
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
