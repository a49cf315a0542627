package console_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"rollcall/internal/app"
	"rollcall/internal/console"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/testevent"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const token = "a token for the console"

const configuration = `
database: %s
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
admin_tokens: {alice: "` + token + `"}
sources:
  clerk:
    provider: clerk
    signing_secrets: ["whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ=="]
targets:
  profiles:
    table: public.profiles
    key: id
    set: {id: new.id, email: new.email, name: new.full_name}
    on_delete: delete
`

// served is a real service with its console.
type served struct {
	*fixture.Database
	setup         *app.Setup
	public, admin string
}

// serve runs a service until the test ends. Its configuration may be changed.
func serve(t *testing.T, change ...string) *served {
	t.Helper()
	return serveOn(fixture.New(t, tables), change...)
}

// tables are those of the targets.
const tables = `create table profiles (id text primary key, email text unique, name text not null);
	create table teams (id text primary key, name text); create table members (team text, who text, role text, primary key (team, who))`

// serveOn is serve on a database.
func serveOn(d *fixture.Database, change ...string) *served {
	t := d.T
	t.Helper()
	text := strings.NewReplacer(change...).Replace(fmt.Sprintf(configuration, d.Address))
	read := func() (*app.Setup, error) {
		return app.Read("rollcall.yaml", []byte(text), func(string) string { return "" })
	}
	s := &served{Database: d, setup: must.Get(read())(t)}
	ctx, stop := context.WithCancel(context.Background())
	listening, ready, ended := make(chan [2]net.Addr, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{
			Setup: s.setup, Log: slog.New(slog.DiscardHandler), Version: "1.2.3", Read: read,
			Listening: func(public, admin net.Addr) { listening <- [2]net.Addr{public, admin} }, Ready: func() { close(ready) },
		})
	}()
	t.Cleanup(func() { stop(); must.Do(t, <-ended) })
	at := <-listening
	s.public, s.admin = "http://"+at[0].String(), "http://"+at[1].String()
	<-ready
	return s
}

// send sends one of Clerk's built-in events, changed.
func (s *served) send(name string, set ...testevent.Change) {
	s.T.Helper()
	s.sendTo("clerk", name, set...)
}

func (s *served) sendTo(source, name string, set ...testevent.Change) {
	s.T.Helper()
	src := must.Get(s.setup.Source(source))(s.T)
	sample, ok := testevent.Find(src, name)
	must.True(s.T, ok, "there is no event %s", name)
	body := must.Get(testevent.Apply(sample.Body(time.Now()), set))(s.T)
	must.Get(testevent.NewSender(s.public).Post(s.T.Context(), must.Get(testevent.Seal(src, sample.Endpoint, body))(s.T)))(s.T)
}

// set puts a text into a body; "" becomes null.
func set(path, text string) testevent.Change {
	if text == "" {
		return testevent.Change{Path: path, Value: "null"}
	}
	return testevent.Change{Path: path, Value: fmt.Sprintf("%q", text)}
}

// visitor is a browser without JavaScript.
type visitor struct {
	*http.Client
	t    testing.TB
	base string
}

func (s *served) visit() *visitor {
	s.T.Helper()
	return &visitor{&http.Client{Jar: must.Get(cookiejar.New(nil))(s.T), Timeout: time.Minute}, s.T, s.admin}
}

// read answers with the status and the text of a page.
func (v *visitor) read(r *http.Request) (int, string) {
	v.t.Helper()
	answer, err := v.Do(r)
	must.Do(v.t, err)
	defer func() { must.Do(v.t, answer.Body.Close()) }()
	return answer.StatusCode, string(must.Get(io.ReadAll(answer.Body))(v.t))
}

func (v *visitor) get(path string) (int, string) {
	v.t.Helper()
	return v.read(must.Get(http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.base+path, nil))(v.t))
}

func (v *visitor) post(path string, form url.Values) (int, string) {
	v.t.Helper()
	r := must.Get(http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+path, strings.NewReader(form.Encode())))(v.t)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.read(r)
}

func (v *visitor) signIn() {
	v.t.Helper()
	status, page := v.post("/signin", url.Values{"token": {token}, "to": {"/"}})
	must.True(v.t, status == 200 && strings.Contains(page, "<h1>Now</h1>"), "signing in: %d %s", status, page)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// confirm goes to the page that asks, and returns its form.
func (v *visitor) confirm(path string) url.Values {
	v.t.Helper()
	_, page := v.get(path)
	form := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(page[strings.Index(page, "<main"):], -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	must.True(v.t, form.Has("key"), "%s has no form: %s", path, page)
	return form
}

// wants fails unless an answer has a status and a text.
func (v *visitor) wants(status int, page string, want int, text string) {
	v.t.Helper()
	if status != want || !strings.Contains(page, text) {
		v.t.Errorf("got %d, want %d and %q; the page is\n%s", status, want, text, page)
	}
}

// Nothing is shown, and nothing done, to who has not signed in; a cookie can't be made without the token.
func TestSigningIn(t *testing.T) {
	t.Parallel()
	s := serve(t)
	v := s.visit()
	for _, path := range []string{"/", "/events", "/users?who=x", "/parked", "/targets", "/jobs", "/notifications", "/confirm/check", "/live"} {
		status, page := v.get(path)
		v.wants(status, page, 200, "<h1>Sign in</h1>")
	}
	status, page := v.post("/do/check", url.Values{"key": {"k"}})
	v.wants(status, page, 200, "<h1>Sign in</h1>")
	s.Want("select count(*) from rollcall.tasks", "0")
	status, page = v.post("/signin", url.Values{"token": {"wrong"}})
	v.wants(status, page, 401, "none of the admin tokens")

	v.signIn()
	base := must.Get(url.Parse(s.admin))(t)
	cookie := v.Jar.Cookies(base)[0]
	for _, bad := range []string{"", "alice", cookie.Value + "x", strings.Replace(cookie.Value, "alice", "bob", 1), "alice.9999999999." + strings.Split(cookie.Value, ".")[2]} {
		v.Jar.SetCookies(base, []*http.Cookie{{Name: cookie.Name, Value: bad, Path: "/"}})
		status, page = v.get("/")
		v.wants(status, page, 200, "<h1>Sign in</h1>")
	}
	v.Jar.SetCookies(base, []*http.Cookie{{Name: cookie.Name, Value: cookie.Value, Path: "/"}})
	status, page = v.get("/")
	v.wants(status, page, 200, "alice")
}

// Without a token there is a page that says how to set one, and nothing else.
func TestClosed(t *testing.T) {
	t.Parallel()
	s := serve(t, `admin_tokens: {alice: "`+token+`"}`, "")
	v := s.visit()
	for _, path := range []string{"/", "/events", "/jobs"} {
		status, page := v.get(path)
		v.wants(status, page, 503, "admin_tokens: {alice:")
	}
	status, page := v.post("/signin", url.Values{"token": {""}})
	v.wants(status, page, 401, "")
	status, page = v.get("/admin/v1/status")
	v.wants(status, page, 404, "closed")
}

// A form of another page is refused, and one that is sent twice is done once.
func TestForms(t *testing.T) {
	t.Parallel()
	s := serve(t)
	v := s.visit()
	v.signIn()
	form := v.confirm("/confirm/check?back=/targets")
	foreign := url.Values{"key": form["key"], "form": {"guess"}}
	status, page := v.post("/do/check", foreign)
	v.wants(status, page, 403, "not of your session")
	for range 2 {
		status, page = v.post("/do/check", form)
		v.wants(status, page, 200, "Task 1 has begun.")
	}
	s.Want("select count(*) from rollcall.tasks", "1")
	s.Await("select state, requested_by from rollcall.tasks", "succeeded|alice")
	form = v.confirm("/confirm/backfill?subject=nobody&back=/targets")
	status, page = v.post("/do/backfill", form)
	v.wants(status, page, 422, "profiles")
	status, page = v.get("/confirm/dance")
	v.wants(status, page, 404, "no such action")
	status, page = v.post("/signout", url.Values{"form": form["form"]})
	v.wants(status, page, 200, "<h1>Sign in</h1>")
}

// The copy of htmx 2.0.11 is that of npm, with its licence. A newer one is copied from node_modules, with a new sum.
func TestHTMX(t *testing.T) {
	t.Parallel()
	copied := must.Get(os.ReadFile("static/htmx.min.js"))(t)
	must.Equal(t, fmt.Sprintf("%x", sha256.Sum256(copied)), "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717", "SHA-256 of htmx.min.js")
	must.True(t, strings.Contains(string(copied), `version:"2.0.11"`), "another version")
	must.True(t, strings.HasPrefix(string(must.Get(os.ReadFile("static/htmx.LICENSE"))(t)), "Zero-Clause BSD"), "no licence")
}

// Requests to names that are not the console's are refused, before anything else.
func TestHosts(t *testing.T) {
	t.Parallel()
	s := serve(t, "admin_tokens:", "admin_hosts: [rollcall.example.com]\nadmin_tokens:")
	v := s.visit()
	for host, want := range map[string]int{
		"localhost:8081": 200, "127.0.0.1": 200, "[::1]:8081": 200, "rollcall.example.com": 200, "ROLLCALL.example.com:80": 200,
		"evil.example.com": 421, "rollcall.example.com.evil.test": 421,
	} {
		r := must.Get(http.NewRequestWithContext(t.Context(), http.MethodGet, s.admin+"/signin", nil))(t)
		r.Host = host
		status, page := v.read(r)
		v.wants(status, page, want, "")
	}
}

// values are those of form fields: what was written comes back as it was.
var values = regexp.MustCompile(`value="[^"]*"`)

const hostile = `<img src=x onerror="window.hacked=1">'"&{{.}}` + "\u202e"

// What users and providers write is text on every page.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.send("user.created", set("data.id", hostile), set("data.first_name", hostile), set("data.email_addresses[0].email_address", hostile+"@example.com"))
	s.Exec("update rollcall.events set id = $1", hostile)
	s.Exec("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('profiles', 'clerk', $1, now(), '23505', $1)", hostile)
	s.Exec("insert into rollcall.transitions (type, source, row_id) values ('appeared', 'clerk', $1)", hostile)
	s.Exec("insert into rollcall.notifications (name, transition, noted_at, state, error) select $1, id, at, 'failed', $1 from rollcall.transitions", hostile)
	v := s.visit()
	v.signIn()
	id := url.PathEscape(hostile)
	for _, path := range []string{
		"/", "/events", "/events/clerk/" + id, "/events/clerk/" + id + "?reveal=1", "/events?type=" + url.QueryEscape(hostile), "/replay?since=1h", "/replay?since=1h&user=" + url.QueryEscape(hostile), "/users?who=" + url.QueryEscape(hostile),
		"/parked", "/targets", "/jobs", "/notifications", "/confirm/retry-notifications?name=" + url.QueryEscape(hostile), "/confirm/erase?source=clerk&id=" + url.QueryEscape(hostile) + "&back=" + url.QueryEscape(hostile), "/" + id,
		"/confirm/reveal?path=" + url.QueryEscape("javascript:alert(1)") + "&back=//evil.example.com",
	} {
		_, page := v.get(path)
		page = values.ReplaceAllString(page, "")
		if strings.Contains(page, "<img") || strings.Contains(page, "\u202e") || strings.Contains(page, "javascript:") || strings.Contains(page, "//evil") {
			t.Errorf("%s has the hostile text as it is:\n%s", path, page)
		}
	}
}

// Secrets are on no page, and personal data only where an operator asks for them, which is noted.
func TestMasked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.send("user.created", set("data.id", "user_1"), set("data.email_addresses[0].email_address", "secret.person@example.com"), set("data.first_name", "Zacharias"))
	s.Exec("update rollcall.events set id = 'msg_1'; update profiles set name = 'Zacharias'")
	v := s.visit()
	v.signIn()
	for _, path := range []string{"/", "/events", "/events/clerk/msg_1", "/users?who=user_1", "/parked", "/targets", "/jobs", "/notifications"} {
		_, page := v.get(path)
		for _, secret := range []string{"secret.person", "Zacharias", token, "whsec_", s.Address} {
			must.True(t, !strings.Contains(page, secret), "%s has %s", path, secret)
		}
	}
	s.Want("select count(*) from rollcall.audit_log", "0")
	status, page := v.get("/events/clerk/msg_1?reveal=1")
	v.wants(status, page, 200, "secret.person@example.com")
	s.Want("select who, action, object from rollcall.audit_log", "alice|reveal|event clerk/msg_1")
}

// The curves show what was added in each minute, and what was waiting then; nothing of before the first look.
func TestCurves(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	webhooks := promauto.With(registry).NewCounterVec(prometheus.CounterOpts{Name: "rollcall_webhooks_total"}, []string{"source", "type", "outcome"})
	queue := promauto.With(registry).NewGauge(prometheus.GaugeOpts{Name: "rollcall_queue_events"})
	lag := promauto.With(registry).NewGaugeVec(prometheus.GaugeOpts{Name: "rollcall_capture_oldest_seconds"}, []string{"source"})
	webhooks.WithLabelValues("clerk", "user.created", "applied").Add(100)
	got := console.Curves(registry, func(read func(time.Time)) {
		now := time.Now()
		read(now)
		webhooks.WithLabelValues("clerk", "user.created", "applied").Add(5)
		webhooks.WithLabelValues("clerk", "user.updated", "applied").Add(2)
		read(now.Add(30 * time.Second)) // too early
		queue.Set(4)
		read(now.Add(time.Minute))
		webhooks.WithLabelValues("clerk", "user.updated", "applied").Add(3)
		queue.Set(1)
		lag.WithLabelValues("supabase").Set(0.5)
		read(now.Add(2 * time.Minute))
	})
	must.Equal(t, got, []console.Curve{
		{Name: "clerk applied", Last: 3, Max: 7}, {Name: "supabase capture lag, seconds", Last: 0.5, Max: 0.5}, {Name: "waiting events", Last: 1, Max: 4},
	}, "curves")
}

// awaitMetric waits until a metric is there: what the database says is left out while it is slow to answer.
func (s *served) awaitMetric(name string) {
	s.T.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, metrics := s.visit().get("/metrics"); strings.Contains(metrics, "\n"+name) {
			return
		}
		if time.Now().After(end) {
			s.T.Fatalf("there is no metric %s", name)
		}
	}
}
