package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/source"
)

const (
	clerkSecret    = "whsec_bWFkZSB1cCBmb3IgdGVzdHMsIGNsZXJrIG9uZSEh"
	supabaseSecret = "v1,whsec_bWFkZSB1cCBmb3IgdGVzdHMsIHN1cGFiYXNlIDEhISE="
)

func newSource(t testing.TB, cfg source.Config) *source.Source {
	t.Helper()
	cfg.Name = cfg.Provider
	return must.Get(source.New(cfg))(t)
}

func clerk(t testing.TB) *source.Source {
	return newSource(t, source.Config{Provider: source.Clerk, SigningSecrets: []string{clerkSecret}})
}

func receiver(t testing.TB, base string) Receiver {
	t.Helper()
	return must.Get(Resolve(t.Context(), base))(t)
}

// received reads the bytes of a request as a server does.
func received(t testing.TB, q *request) (path string, r source.Request) {
	t.Helper()
	got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(q.raw)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, q.raw)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil || int64(len(body)) != got.ContentLength || !bytes.Equal(body, q.raw[q.body:]) {
		t.Fatalf("body of %d bytes, Content-Length %d, error %v", len(body), got.ContentLength, err)
	}
	if got.Host == "" || got.Method != http.MethodPost {
		t.Errorf("%s to host %q", got.Method, got.Host)
	}
	r = source.Request{Header: got.Header, Body: body, ReceivedAt: time.Now()}
	if strings.HasSuffix(got.URL.Path, "/database") {
		r.Endpoint = source.Database
	}
	return got.URL.Path, r
}

// Every request passes the source's own endpoints, and says what it's counted as.
func TestSealedRequests(t *testing.T) {
	t.Parallel()
	all := source.Config{Provider: source.Supabase, SigningSecrets: []string{supabaseSecret}, WebhookHeader: "Authorization", WebhookSecrets: []string{"Bearer made-up-secret"}}
	row := all
	row.SigningSecrets = nil
	for _, tt := range []struct {
		source *source.Source
		mix    Mix
		types  [kinds]string
	}{
		{clerk(t), Mix{5, 3, 2, 3, 2, 1}, clerkEvents},
		{newSource(t, all), Mix{5, 3, 2}, [kinds]string{"after-user-created", "database.update", "database.delete", "", "", ""}},
		{newSource(t, row), Mix{5, 3, 2}, [kinds]string{"database.insert", "database.update", "database.delete", "", "", ""}},
	} {
		s := must.Get(newSealer(Config{To: receiver(t, "http://127.0.0.1:8080/below"), Source: tt.source, Mix: tt.mix, Run: 0xbeef, Connections: 1}))(t)
		prefix := strings.TrimSuffix(IDs(tt.source.Provider(), 0xbeef), "%")
		emails, messages := map[string]string{}, map[string]bool{}
		for range 300 {
			q := must.Get(s.next(time.Now()))(t)
			path, r := received(t, q)
			if err := tt.source.Verify(r); err != nil || !strings.HasPrefix(path, "/below/webhooks/"+tt.source.Name()) {
				t.Fatalf("%s: %v", path, err)
			}
			e := tt.source.Decode(r)
			if e.Type != tt.types[q.kind] || !strings.HasPrefix(e.UserID, prefix) || messages[e.ID] {
				t.Fatalf("%s is %s about %s, message %s", q.kind, e.Type, e.UserID, e.ID)
			}
			messages[e.ID] = true
			if m := e.Membership; m != nil && ("user"+strings.TrimPrefix(m.ID, "orgmem") != e.UserID || !strings.HasPrefix(e.Organization.ID, "org_load_0000beef_")) {
				t.Fatalf("%s of %s in %s", m.ID, e.UserID, e.Organization.ID)
			}
			if e.Op != event.Upsert || e.User == nil {
				continue
			}
			if holder, found := emails[*e.User.Email]; found && holder != e.UserID {
				t.Fatalf("%s has the e-mail of %s", e.UserID, holder)
			}
			emails[*e.User.Email] = e.UserID
		}
	}
}

func TestClosedEndpoints(t *testing.T) {
	t.Parallel()
	hooks := newSource(t, source.Config{Provider: source.Supabase, SigningSecrets: []string{supabaseSecret}})
	to := receiver(t, "http://127.0.0.1:8080")
	var closed *ClosedError
	if _, err := newSealer(Config{To: to, Source: hooks, Mix: DefaultMix, Connections: 1}); !errors.As(err, &closed) || closed.Endpoint != source.Database || closed.Kind != Updated {
		t.Errorf("updates without their endpoint: %v", err)
	}
	must.Fail(t, must.Err(newSealer(Config{To: to, Source: hooks, Mix: Mix{Created: 1, Joined: 1}, Connections: 1})), nil, "only Clerk has organizations")
	s := must.Get(newSealer(Config{To: to, Source: hooks, Mix: Mix{100, 0, 0}, Users: 1, Connections: 1}))(t)
	for range 3 { // the second time, the user is there already
		q := must.Get(s.next(time.Now()))(t)
		if _, r := received(t, q); hooks.Verify(r) != nil || r.Endpoint != source.Hook {
			t.Errorf("%s by the %s endpoint", q.kind, r.Endpoint)
		}
	}
	if _, err := newSealer(Config{To: to, Source: newSource(t, source.Config{Provider: source.Clerk}), Mix: DefaultMix}); err == nil {
		t.Error("a source without a secret can sign")
	}
}

// What has waited for too long is signed once more; its body stays.
func TestRenew(t *testing.T) {
	t.Parallel()
	src := clerk(t)
	s := must.Get(newSealer(Config{To: receiver(t, "http://127.0.0.1:8080"), Source: src, Mix: DefaultMix, Connections: 1}))(t)
	now := time.Now()
	q := must.Get(s.next(now))(t)
	before := string(q.raw)
	if err := q.renew(now.Add(fresh)); err != nil || string(q.raw) != before {
		t.Errorf("renewed too early, error %v", err)
	}
	if err := q.renew(now.Add(fresh + time.Second)); err != nil || string(q.raw) == before {
		t.Errorf("not renewed, error %v", err)
	}
	if _, r := received(t, q); src.Verify(r) != nil || string(r.Body) != before[q.body:] {
		t.Errorf("the renewed one doesn't pass")
	}
}

// Made ahead is what there is room for; what is limited ends there.
func TestPrepare(t *testing.T) {
	t.Parallel()
	const room = 20
	for _, limit := range []int64{3, room, 10 * room} {
		cfg := Config{
			To: receiver(t, "http://127.0.0.1:8080"), Source: clerk(t), Mix: DefaultMix,
			Connections: 1, Ahead: room, Rate: 1, Duration: time.Duration(limit) * time.Second,
		}
		s := must.Get(newSealer(cfg))(t)
		ahead := must.Get(prepare(t.Context(), s, cfg))(t)
		if got := int64(len(ahead)); got != min(limit, room) {
			t.Errorf("%d are ready", got)
		}
		var n int64
		for q := range ahead {
			if q.number != n {
				t.Fatalf("request %d has the number %d", n, q.number)
			}
			n++
		}
		if n != limit {
			t.Errorf("%d were made, want %d", n, limit)
		}
	}
}

// What making and signing a request costs, which the sender does for each.
func BenchmarkSeal(b *testing.B) {
	s := must.Get(newSealer(Config{To: receiver(b, "http://127.0.0.1:8080"), Source: clerk(b), Mix: DefaultMix, Connections: 64}))(b)
	for b.Loop() {
		must.Get(s.next(time.Now()))(b)
	}
}
