package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"rollcall/internal/admin"
	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/claims"
	"rollcall/internal/postgres/tasks"
	"rollcall/internal/replay"
	"rollcall/internal/source"
	"rollcall/internal/target"
	"rollcall/internal/testlog"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	alice = "the token of alice"
	bob   = "the token of bob!"
)

// operated is the API beside a database with one target.
type operated struct {
	*fixture.Bench
	handler http.Handler
	tasks   *tasks.List
	log     *testlog.Log
	// arrive applies a body of Clerk's as a webhook would.
	arrive func(id, body string)
}

func operate(t *testing.T) *operated {
	t.Helper()
	everyone := fixture.Everyone()
	everyone.From = []target.Origin{{Source: source.Clerk, SampleID: source.SampleID(source.Clerk)}}
	o := &operated{Bench: fixture.NewBench(t, fixture.PTable, everyone), log: &testlog.Log{}}
	clerk := fixture.Source(t, source.Clerk)
	o.arrive = func(id, body string) {
		e := clerk.Decode(source.Request{Header: http.Header{"Svix-Id": {id}}, Body: []byte(body), ReceivedAt: time.Now()})
		must.Get(o.Apply(t.Context(), []event.Event{e}))(t)
	}
	check := func(context.Context, tasks.Task, func(done, total int64)) (any, error) { return "checked", nil }
	o.tasks = tasks.New(o.Pool, func(context.Context, string) error { return nil }, tasks.Kind{Name: admin.Check, Timeout: time.Minute, Run: check})
	router := chi.NewRouter()
	operator := &admin.Operator{
		DB: o.DB, Pool: o.Pool, Sources: func() []string { return []string{"clerk"} },
		Admissions: func() []admin.AdmissionRules {
			return []admin.AdmissionRules{{Source: "supabase", Rules: []string{"deny_domains"}, WhenUnavailable: "admit"}}
		},
		Replay: func() replay.Replay {
			return replay.Replay{DB: o.DB, Sources: []*source.Source{clerk}, Submit: o.Apply}
		},
		Reload: func(_ context.Context, who string) (admin.Reloaded, error) {
			if who == "bob" {
				return admin.Reloaded{}, errors.New("rollcall.yaml:1:1: a mistake")
			}
			return admin.Reloaded{Configuration: "1f0a", Unfilled: []string{}}, nil
		},
		Ready:  func(context.Context) error { return nil },
		Claims: claims.Claims{Pool: o.Pool, Log: slog.New(slog.NewTextHandler(o.log, nil))}, Tasks: o.tasks, Installation: func(context.Context) *doctor.Status {
			return &doctor.Status{Sources: []doctor.SourceStatus{{Name: "clerk", Provider: "clerk", Decides: "events"}}}
		}, Findings: func() *doctor.Diagnosis { return &doctor.Diagnosis{} }, Version: "1.2.3", Log: slog.New(slog.NewTextHandler(o.log, nil)),
	}
	router.Mount(admin.Path, admin.New(operator, admin.NewGuard([]admin.Token{{Holder: "alice", Token: alice}, {Holder: "bob", Token: bob}})).Handler())
	o.handler = router
	return o
}

// ask sends a request; header is lines like "Name: value".
func (o *operated) ask(method, path, body string, header ...string) *httptest.ResponseRecorder {
	o.T.Helper()
	r := httptest.NewRequestWithContext(o.T.Context(), method, admin.Path+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+alice)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	return w
}

// wants fails unless an answer has a status and its body a text.
func (o *operated) wants(w *httptest.ResponseRecorder, status int, text string) {
	o.T.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		o.T.Errorf("got %d, want %d and %s; body %s", w.Code, status, text, w.Body)
	}
}

// A token opens the API, in whatever case the scheme is written. Anything else does not, and no log has it.
func TestTokens(t *testing.T) {
	t.Parallel()
	o := operate(t)
	for header, status := range map[string]int{
		"Authorization: Bearer " + alice: 200, "Authorization: bearer " + bob: 200, "Authorization: " + alice: 401,
		"Authorization: Basic " + alice: 401, "Authorization: Bearer": 401, "Authorization: Bearer guess": 401,
	} {
		o.wants(o.ask("GET", "/status", "", header), status, "")
	}
	w := o.ask("GET", "/status", "", "Authorization: Bearer guess")
	o.wants(w, 401, `"title":"Unauthorized"`)
	must.Equal(t, []string{w.Header().Get("WWW-Authenticate"), w.Header().Get("Content-Type")}, []string{"Bearer", "application/problem+json"}, "headers")
	for _, secret := range []string{"guess", alice, bob} {
		must.True(t, !strings.Contains(o.log.String(), secret), "the log has %q:\n%s", secret, o.log)
	}
}

// An address that guesses is not listened to for a while, not even with the right token; other addresses are.
func TestGuesses(t *testing.T) {
	t.Parallel()
	o := operate(t)
	for range 10 {
		o.wants(o.ask("GET", "/status", "", "Authorization: Bearer guess"), 401, "")
	}
	o.wants(o.ask("GET", "/status", ""), 429, "wait")
	r := httptest.NewRequestWithContext(t.Context(), "GET", admin.Path+"/status", nil)
	r.RemoteAddr = "198.51.100.7:1"
	r.Header.Set("Authorization", "Bearer "+alice)
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	o.wants(w, 200, "")
}

// What does not fit is a problem that says where.
func TestProblems(t *testing.T) {
	t.Parallel()
	o := operate(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/nothing", "", 404, "openapi.json"},
		{"DELETE", "/status", "", 405, "openapi.json"},
		{"GET", "/status?x=1", "", 422, "query.x"},
		{"GET", "/tasks?limit=9999", "", 422, "query.limit"},
		{"GET", "/tasks/99", "", 404, "no such task"},
		{"POST", "/tasks", `{"kind":"dance"}`, 422, "body.kind"},
		{"POST", "/tasks", `{"kind":"backfill","subject":"nobody"}`, 422, "configuration: profiles"},
		{"POST", "/tasks", `{"kind":"reconcile"}`, 422, "configuration: clerk"},
		{"POST", "/tasks", `{"kind":"check","subject":"x"}`, 422, "body.subject"},
		{"POST", "/tasks", `{`, 400, "body"},
		{"POST", "/tasks", ``, 400, "body"},
	} {
		w := o.ask(tt.method, tt.path, tt.body)
		o.wants(w, tt.status, tt.want)
		must.Equal(t, w.Header().Get("Content-Type"), "application/problem+json", tt.path)
		must.True(t, json.Valid(w.Body.Bytes()), "no JSON: %s", w.Body)
	}
	o.Want("select count(*) from rollcall.tasks", "0")
}

// The status names the targets, and the list of targets has their SQL.
func TestStatusAndTargets(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.wants(o.ask("GET", "/status", ""), 200, `{"version":"1.2.3","ready":true,"sources":[{"name":"clerk","provider":"clerk","decides":"events",`)
	o.wants(o.ask("GET", "/status", ""), 200, `"admissions":[{"source":"supabase","rules":["deny_domains"],"when_unavailable":"admit"}]`)
	o.wants(o.ask("GET", "/status", ""), 200, `"targets":[{"name":"profiles","table":"public.p","state":"ok","parked":0}]`)
	o.wants(o.ask("GET", "/targets", ""), 200, `insert into`)
}

// A task is begun, seen, listed and stopped.
func TestTasks(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.wants(o.ask("POST", "/tasks", `{"kind":"check","repair":true}`, "Authorization: Bearer "+bob), 202, `"state":"waiting"`)
	o.wants(o.ask("POST", "/tasks", `{"kind":"backfill","subject":"profiles"}`), 202, `"requested_by":"alice"`)
	must.Do(t, o.tasks.Jobs()[0].Run(t.Context()))
	o.wants(o.ask("GET", "/tasks/1", ""), 200, `"result":"checked","options":{"repair":true}}`)
	o.wants(o.ask("GET", "/tasks/1", ""), 200, `"requested_by":"bob"`)
	o.wants(o.ask("POST", "/tasks/2/stop", ""), 200, `"state":"stopped"`)
	o.wants(o.ask("GET", "/tasks?limit=1", ""), 200, `"next":2}`)
	o.wants(o.ask("GET", "/tasks?limit=1&before=2", ""), 200, `[{"id":1`)
	o.Want("select who, action, object, result from rollcall.audit_log order by id",
		"bob|check||task 1", "alice|backfill|profiles|task 2", "alice|stop|task 2|stopped")
}

const ada = `{"type":"user.updated","data":{"id":"user_ada","updated_at":%d,"created_at":1,"first_name":"Ada","primary_email_address_id":"idn_1",
	"email_addresses":[{"id":"idn_1","email_address":"ada@example.com"}]},"timestamp":1}`

// Events are listed and shown, masked unless the holder asks, which is noted; a replay is foreseen and made.
func TestEvents(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.arrive("msg_1", fmt.Sprintf(ada, 5))
	o.arrive("msg_2", fmt.Sprintf(ada, 7))
	o.wants(o.ask("GET", "/events?limit=1", ""), 200, `[{"source":"clerk","id":"msg_2","type":"user.updated","user":"user_ada","outcome":"applied"`)
	var page struct{ Next string }
	must.Do(t, json.Unmarshal(o.ask("GET", "/events?limit=1", "").Body.Bytes(), &page))
	o.wants(o.ask("GET", "/events?limit=1&after="+page.Next, ""), 200, `"id":"msg_1"`)
	o.wants(o.ask("GET", "/events?user=nobody", ""), 200, `{"events":[]}`)
	o.wants(o.ask("GET", "/events?after=x", ""), 422, "cursor")
	masked := o.ask("GET", "/events/clerk/msg_1", "")
	o.wants(masked, 200, `"revealed":false`)
	must.True(t, !strings.Contains(masked.Body.String(), "ada@example.com"), "not masked: %s", masked.Body)
	o.wants(o.ask("GET", "/events/clerk/msg_1?reveal=true", ""), 200, "ada@example.com")
	o.wants(o.ask("GET", "/events/clerk/msg_9", ""), 404, "no such event")

	o.Exec("delete from p")
	o.wants(o.ask("GET", "/events/clerk/msg_2/replay", ""), 200, `"action":"insert"`)
	o.Want("select count(*) from p", "0")
	o.wants(o.ask("POST", "/events/clerk/msg_2/replay", ""), 200, `"became":"duplicate"`)
	o.Want("select count(*) from p", "1")
	o.wants(o.ask("POST", "/events/clerk/msg_9/replay", ""), 404, "no such event")
	o.Exec("delete from p")
	o.wants(o.ask("GET", "/replay?type=user.updated&since=2000-01-01T00:00:00Z", ""), 200, `"events":2,"tried":2,"foreseen":{"events":[{"source":"clerk","id":"msg_1"`)
	o.Want("select count(*) from p", "0")
	o.wants(o.ask("POST", "/tasks", `{"kind":"replay"}`), 422, "body.events.since")
	o.wants(o.ask("POST", "/tasks", `{"kind":"replay","events":{"type":"user.updated","since":"2000-01-01T00:00:00Z"}}`), 202, `"kind":"replay"`)
	o.Want("select options ->> 'type', (options ->> 'until')::timestamptz <= now() from rollcall.tasks", "user.updated|t")
	o.Want("select who, action, object, result from rollcall.audit_log order by id",
		"alice|reveal|event clerk/msg_1|shown", "alice|replay|clerk/msg_2|duplicate", "alice|replay||task 1")
}

// A user is found with every row beside what it should be, settled, and erased once they are deleted.
func TestUsers(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.arrive("msg_1", fmt.Sprintf(ada, 5))
	o.Exec("delete from p")
	o.wants(o.ask("GET", "/users?who=user_ada", ""), 200, `"state":"missing"`)
	o.wants(o.ask("GET", "/users?who=ADA@example.com", ""), 200, `"email":"a…@e….com"`)
	o.wants(o.ask("GET", "/users?who=nobody", ""), 200, `{"users":[]}`)
	o.wants(o.ask("GET", "/users", ""), 422, "query.who")
	o.Exec("insert into rollcall.memberships (source, id, version, changed_at, organization_id, user_id, role) values ('clerk', 'm1', 1, now(), 't1', 'user_ada', 'org:admin')")
	o.wants(o.ask("GET", "/users?who=user_ada", ""), 200, `"memberships":[{"id":"m1","organization_id":"t1","role":"org:admin"`)
	o.Exec("delete from rollcall.memberships")
	o.wants(o.ask("POST", "/users/clerk/user_ada/settle", ""), 200, `"outcome":"applied"`)
	o.Want("select count(*) from p", "1")
	o.wants(o.ask("POST", "/users/clerk/user_ada/erase", `{}`), 409, "living")
	o.wants(o.ask("POST", "/users/clerk/nobody/erase", `{}`), 404, "")
	o.wants(o.ask("POST", "/users/clerk/user_ada/erase", `{"living":true}`), 200, `"erased_at"`)
	o.wants(o.ask("GET", "/users?who=user_ada", ""), 200, `"deleted":true,"erased_at":"20`)
	o.Want("select count(*) from rollcall.events where body is not null", "0")
	o.Want("select who, action, object from rollcall.audit_log order by id", "alice|settle|users/clerk/user_ada", "alice|erase|users/clerk/user_ada")
}

// What targets refuse is listed by reason, and given up.
func TestParked(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.wants(o.ask("GET", "/parked", ""), 200, `{"groups":[]}`)
	o.Exec("alter table p add check (email <> 'ada@example.com')")
	o.arrive("msg_1", fmt.Sprintf(ada, 5))
	o.wants(o.ask("GET", "/parked?target=profiles", ""), 200, `"users":1,"id":"user_ada"`)
	o.wants(o.ask("POST", "/parked/give-up", `{"target":"nobody"}`), 422, "body.target")
	o.wants(o.ask("POST", "/parked/give-up", `{"target":"profiles","ids":["user_ada"]}`), 200, `{"rows":1}`)
	o.wants(o.ask("GET", "/parked", ""), 200, `"given_up":1`)
}

// Notifications are listed with their counts, and what has failed is sent again.
func TestNotifications(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.wants(o.ask("GET", "/notifications", ""), 200, `{"summaries":[],"notifications":[]}`)
	o.Exec(`insert into rollcall.transitions (type, source, row_id) values ('appeared', 'clerk', 'user_1'), ('deleted', 'clerk', 'user_2');
		insert into rollcall.notifiers (name, since, mark) values ('welcome', '2026-01-01Z', 'aaaaaaaaaaaaaaaa');
		insert into rollcall.notifications (name, transition, noted_at, state, attempts, error) select 'welcome', id, at, case when id = 1 then 'delivered' else 'failed' end, 8, 'status 500' from rollcall.transitions`)
	o.wants(o.ask("GET", "/notifications", ""), 200, `{"summaries":[{"name":"welcome","pending":0,"delivered":1,"skipped":0,"failed":1,"since":"2026-01-01T00:00:00Z"}],"notifications":[{"id":"msg_0000000000000002aaaaaaaaaaaaaaaa"`)
	o.wants(o.ask("GET", "/notifications?state=delivered", ""), 200, `"notifications":[{"id":"msg_0000000000000001aaaaaaaaaaaaaaaa","name":"welcome","type":"appeared","source":"clerk","row_id":"user_1","state":"delivered","attempts":8`)
	o.wants(o.ask("GET", "/notifications?name=other", ""), 200, `"notifications":[]`)
	o.wants(o.ask("GET", "/notifications?state=lost", ""), 422, "state")
	o.wants(o.ask("GET", "/notifications?id=x", ""), 422, "body.id")
	o.wants(o.ask("POST", "/notifications/retry", `{"id":"x"}`), 422, "body.id")
	o.wants(o.ask("POST", "/notifications/retry", `{"name":"other"}`), 200, `{"retried":0}`)
	o.wants(o.ask("POST", "/notifications/retry", `{"id":"msg_0000000000000001aaaaaaaaaaaaaaaa"}`), 200, `{"retried":0}`)
	o.wants(o.ask("POST", "/notifications/retry", `{"name":"welcome"}`), 200, `{"retried":1}`)
	o.Want("select state, attempts::text from rollcall.notifications order by transition", "delivered|8", "pending|0")
	o.Want("select who, action, object, result from rollcall.audit_log", "alice|retry notifications|welcome|1 notifications")
}

// A reload says what it has changed, or what is wrong with the file.
func TestReload(t *testing.T) {
	t.Parallel()
	o := operate(t)
	o.wants(o.ask("POST", "/reload", ""), 200, `"configuration":"1f0a"`)
	o.wants(o.ask("POST", "/reload", "", "Authorization: Bearer "+bob), 422, "rollcall.yaml:1:1")
}

// A change with an Idempotency-Key is done once, however often it comes, and each time answered alike.
func TestOnce(t *testing.T) {
	t.Parallel()
	o := operate(t)
	answers := make([]*httptest.ResponseRecorder, 20)
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() { answers[i] = o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: k1") })
	}
	asking.Wait()
	for _, w := range answers {
		must.True(t, w.Code == 202 || w.Code == 409, "got %d %s", w.Code, w.Body)
	}
	o.Want("select count(*) from rollcall.tasks", "1")
	first, again := o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: k2"), o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: k2")
	must.Equal(t, []any{again.Code, again.Body.String(), again.Header().Get("Content-Type")}, []any{202, first.Body.String(), "application/json"}, "again")
	o.wants(o.ask("POST", "/tasks", `{"kind":"check","repair":true}`, "Idempotency-Key: k2"), 422, "another request")
	o.wants(o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: k2", "Authorization: Bearer "+bob), 202, `"requested_by":"bob"`)
	o.wants(o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: "+strings.Repeat("k", 256)), 400, "255")
	o.wants(o.ask("POST", "/tasks", `"`+strings.Repeat("x", 1<<20)+`"`, "Idempotency-Key: k3"), 413, "1 MiB")
	o.Want("select count(*) from rollcall.tasks", "3")

	o.Exec("alter table rollcall.tasks rename to away")
	o.wants(o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: k4"), 503, "log")
	o.Exec("alter table rollcall.away rename to tasks")
	o.wants(o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: k4"), 202, "")

	o.Exec("update rollcall.answers set created_at = created_at - interval '25 hours'")
	o.wants(o.ask("POST", "/tasks", `{"kind":"check"}`, "Idempotency-Key: k2"), 202, `"id":5`)
	must.Do(t, claims.Claims{Pool: o.Pool}.Forget(t.Context()))
	o.Want("select holder, key from rollcall.answers", "alice|k2")
}

var update = flag.Bool("update", false, "write docs/openapi.json")

// The description in docs is the one that is served.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	o := operate(t)
	served := o.ask("GET", "/openapi.json", "")
	var described map[string]any
	must.Do(t, json.Unmarshal(served.Body.Bytes(), &described))
	must.Equal(t, described["openapi"], any("3.1.0"), "version of OpenAPI")
	info, ok := described["info"].(map[string]any)
	must.True(t, ok, "no info: %v", described["info"])
	info["version"] = "1"
	page := string(must.Get(json.MarshalIndent(described, "", "  "))(t)) + "\n"
	const file = "../../docs/openapi.json"
	if *update {
		must.Do(t, os.WriteFile(file, []byte(page), 0o600))
	}
	must.Equal(t, string(must.Get(os.ReadFile(file))(t)), page, "docs/openapi.json; go test ./internal/admin -update writes it")
	for _, path := range []string{"/docs", "/schemas/Task.json"} {
		o.wants(o.ask("GET", path, ""), 404, "")
	}
}
