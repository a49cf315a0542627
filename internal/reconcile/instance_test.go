package reconcile_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
)

// instance is a database beside a Clerk instance.
type instance struct {
	*project
	clerk *clerktest.Clerk
}

func newInstance(t testing.TB) *instance {
	t.Helper()
	return openInstance(fixture.New(t, "create table people (id text primary key, email text, name text)"), clerktest.New(t))
}

func openInstance(db *fixture.Database, clerk *clerktest.Clerk) *instance {
	db.T.Helper()
	people := fixture.Target(source.Clerk)
	people.Name, people.Table, people.OnInsert = "people", "public.people", nil
	in := &instance{startProject(db, "", people), clerk}
	in.Source = fixture.Source(db.T, source.Clerk)
	in.connect(clerk, clerk.Client())
	return in
}

// connect asks an instance by a client, with the instance's key.
func (in *instance) connect(to *clerktest.Clerk, client *http.Client) {
	in.URL = clerktest.Address
	in.API = clerk.New(clerk.Config{Key: to.Key(), URL: in.URL, Client: client, Log: in.Log})
}

// put creates users an hour ago; their ids are in order.
func (in *instance) put(n int) []string {
	in.T.Helper()
	ids := make([]string, n)
	for i := range ids {
		at := time.Now().Add(-time.Hour + time.Duration(i)*time.Millisecond)
		ids[i] = in.clerk.Put(clerktest.User{FirstName: "Ada", LastName: fmt.Sprint(i), Email: fmt.Sprint(i, "@x.test"), CreatedAt: at, UpdatedAt: at}).ID
	}
	return ids
}

// filled is an instance whose roll has n users, known for longer than the API may lag.
func filled(t testing.TB, n int) (*instance, []string) {
	t.Helper()
	in := newInstance(t)
	ids := in.put(n)
	in.wantRun(directory.Reconciled{Created: int64(n)})
	in.age()
	in.clerk.ForgetRequests()
	return in, ids
}

// age lets the roll have known each user for an hour more.
func (in *instance) age() {
	in.Exec("update rollcall.users set changed_at = changed_at - interval '1 hour'")
}

// hook delivers a webhook about a user as they are now.
func (in *instance) hook(kind, id string) {
	in.T.Helper()
	e := in.Source.Decode(source.Request{Header: http.Header{"Svix-Id": {fmt.Sprint("msg_", kind, id, time.Now().UnixNano())}}, Body: in.clerk.Event(kind, id), ReceivedAt: time.Now()})
	if outcomes, err := in.Submit(context.Background(), []event.Event{e}); err != nil || outcomes[0] != event.Applied {
		in.T.Error(outcomes, err)
	}
}

// inStep holds the table against the instance.
func (in *instance) inStep() {
	in.T.Helper()
	var want []string
	for _, u := range in.clerk.Users() {
		want = append(want, u.ID+" "+u.Email)
	}
	slices.Sort(want)
	in.Want(`select id || ' ' || email from people order by id collate "C"`, want...)
}

// asked are the single users that were asked for.
func (in *instance) asked() map[string]bool {
	ids := map[string]bool{}
	for _, r := range in.clerk.Requests() {
		if r.Kind == clerktest.Single {
			ids[r.ID] = true
		}
	}
	return ids
}

// unchanged does what leaves the database as it is.
func (in *instance) unchanged(do func()) {
	in.T.Helper()
	before := in.content()
	do()
	must.Equal(in.T, in.content(), before, "content")
}

// content is all that the database holds but for sequences, and for the records of runs.
func (in *instance) content() string {
	in.T.Helper()
	var all string
	err := in.SQL.QueryRow(in.T.Context(), `select string_agg(t.name || ' ' || (xpath('/row/h/text()', query_to_xml(
  format('select md5(coalesce(string_agg(t::text || t.xmin::text, '','' order by t::text), '''')) as h from %s t', t.name), false, true, '')))[1]::text, ' ' order by t.name)
from (select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = relnamespace
  where relkind = 'r' and nspname in ('rollcall', 'public') and relname <> 'reconciliations') t`).Scan(&all)
	must.Do(in.T, err)
	return all
}

func (in *instance) fails(is error, words ...string) directory.Reconciled {
	in.T.Helper()
	tally, err := reconcile.Run(in.T.Context(), in.Config)
	in.wantError(err, is, words...)
	return tally.Reconciled
}

// previewFails returns what a dry run has found before it fails.
func (in *instance) previewFails(is error, words ...string) []reconcile.Plan {
	in.T.Helper()
	found, _, err := in.preview()
	in.wantError(err, is, words...)
	return found
}

// sync brings a user into step just in time.
func (in *instance) sync(id string) error {
	providers := map[string]reconcile.Provider{"clerk": reconcile.APIProvider(in.API, in.Source)}
	syncer := reconcile.NewSyncer(reconcile.SyncConfig{Providers: providers, DB: in.DB, Submit: in.pipeline.Submit})
	return must.Err(syncer.Sync(in.T.Context(), "clerk", id))
}

func (in *instance) wantError(err, is error, words ...string) {
	in.T.Helper()
	must.Fail(in.T, err, is, words...)
	if err != nil && strings.Contains(err.Error(), in.clerk.Key()) {
		in.T.Errorf("the error tells the key: %v", err)
	}
}

// without takes the id of a user out of what the API answers.
type without struct {
	http.RoundTripper
	id string
}

func (w without) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := w.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	body = bytes.Replace(body, []byte(`"id":"`+w.id+`"`), []byte(`"id":null`), 1)
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return answer, err
}

// advice is why the roll can't follow a user, as a run's log says it; a dry run says the same.
func (p *project) advice(user string) string {
	p.T.Helper()
	var log bytes.Buffer
	cfg := p.Config
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		a.Value = slog.StringValue(strings.ReplaceAll(a.Value.String(), `"`, "”")) // which the handler escapes
		return a
	}}))
	found, _, err := p.preview()
	must.Do(p.T, err)
	var dry string
	for _, f := range found {
		if f.User == user {
			dry = f.Reason
		}
	}
	if tally, err := reconcile.Run(p.T.Context(), cfg); err != nil || tally.Failed != 1 {
		p.T.Fatalf("got %+v, error %v, want one who can't be followed", tally, err)
	}
	if !strings.Contains(log.String(), strings.ReplaceAll(dry, `"`, "”")) || dry == "" {
		p.T.Errorf("a dry run says %q, a run %s", dry, &log)
	}
	return dry
}

// follow does literally what an advice says.
func (p *project) follow(advice string) {
	p.T.Helper()
	sql := regexp.MustCompile(`run (.*?;)`).FindStringSubmatch(advice)
	if sql == nil || !strings.Contains(advice, "rollcall reconcile "+p.Source.Name()) {
		p.T.Fatalf("nothing to do in %q", advice)
	}
	p.Exec(sql[1])
}

// At Clerk nobody sets updated_at: any change does.
func TestAdviceAtClerk(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 1)
	in.Exec("update rollcall.users set version = version + 60000000, email = 'other@x.test'")
	advice := in.advice(ids[0])
	if want := "change the user at Clerk, which sets updated_at, and run rollcall reconcile clerk"; !strings.HasSuffix(advice, want) {
		t.Fatalf("got %q, want %q", advice, want)
	}
	in.clerk.Update(ids[0], func(u *clerktest.User) { u.FirstName, u.UpdatedAt = "Grace", time.Now() })
	in.wantRun(directory.Reconciled{Updated: 1})
	in.inStep()

	in.Exec("update rollcall.users set version = 4102444800123456, email = 'other@x.test', changed_at = changed_at - interval '1 hour'")
	in.follow(in.advice(ids[0]))
	in.wantRun(directory.Reconciled{Created: 1})
	in.inStep()
	in.wantRun(directory.Reconciled{Unchanged: 1})
}
