package reconcile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/clerk"
	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// office is a database beside a Clerk instance.
type office struct {
	*house
	clerk *clerktest.Clerk
}

func people() target.Target {
	p := profileTarget()
	p.Name, p.Table, p.OnInsert = "people", "public.people", nil
	p.From = []target.Origin{{Source: "clerk", SampleID: source.SampleID(source.Clerk)}}
	return p
}

func newOffice(t testing.TB) *office {
	t.Helper()
	address := pgtest.NewWith(t, "create table people (id text primary key, email text, name text)")
	return openOffice(t, address, clerktest.New(t))
}

func openOffice(t testing.TB, address string, clerk *clerktest.Clerk) *office {
	t.Helper()
	o := &office{furnish(t, address, "", people()), clerk}
	o.Source = newSource(t, source.Clerk)
	o.connect(clerk)
	return o
}

// connect gives the office the key of an instance.
func (o *office) connect(to *clerktest.Clerk) { o.connectBy(to, to.Client()) }

func (o *office) connectBy(to *clerktest.Clerk, client *http.Client) {
	o.URL = clerktest.Address
	o.API = clerk.New(clerk.Config{Key: to.Key(), URL: o.URL, Client: client, Log: o.Log})
}

// put creates users an hour ago; their ids are in order.
func (o *office) put(n int) []string {
	o.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		at := time.Now().Add(-time.Hour + time.Duration(i)*time.Millisecond)
		ids[i] = o.clerk.Put(clerktest.User{FirstName: "Ada", LastName: fmt.Sprint(i), Email: fmt.Sprint(i, "@x.test"), CreatedAt: at, UpdatedAt: at}).ID
	}
	return ids
}

// filled is an office whose roll has n users, known for longer than the API may lag.
func filled(t testing.TB, n int) (*office, []string) {
	t.Helper()
	o := newOffice(t)
	ids := o.put(n)
	o.wantRun(postgres.Reconciled{Created: int64(n)})
	o.age()
	o.clerk.ForgetRequests()
	return o, ids
}

// age lets the roll have known everybody for an hour more.
func (o *office) age() {
	o.exec("update rollcall.users set changed_at = changed_at - interval '1 hour'")
}

// hook delivers a webhook about a user as he is now.
func (o *office) hook(kind, id string) {
	o.t.Helper()
	e := o.Source.Decode(source.Request{Header: http.Header{"Svix-Id": {fmt.Sprint("msg_", kind, id, time.Now().UnixNano())}}, Body: o.clerk.Event(kind, id), ReceivedAt: time.Now()})
	if outcomes, err := o.Submit(context.Background(), []event.Event{e}); err != nil || outcomes[0] != event.Applied {
		o.t.Error(outcomes, err)
	}
}

// inStep holds the table against the instance.
func (o *office) inStep() {
	o.t.Helper()
	want := map[string]string{}
	for _, u := range o.clerk.Users() {
		want[u.ID] = u.Email
	}
	got := map[string]string{}
	rows, err := o.sql.Query(o.t.Context(), "select id, email from people")
	if err != nil {
		o.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, email string
		if err := rows.Scan(&id, &email); err != nil {
			o.t.Fatal(err)
		}
		got[id] = email
	}
	if diff := cmp.Diff(want, got); diff != "" {
		o.t.Error("the table (-instance +table):", diff)
	}
}

// asked are the single users that were asked for.
func (o *office) asked() map[string]bool {
	ids := map[string]bool{}
	for _, r := range o.clerk.Requests() {
		if r.Kind == clerktest.Single {
			ids[r.ID] = true
		}
	}
	return ids
}

// content is all that the database holds but for sequences, and for the records of runs.
func (o *office) content() string {
	o.t.Helper()
	var all string
	err := o.sql.QueryRow(o.t.Context(), `select string_agg(t.name || ' ' || (xpath('/row/h/text()', query_to_xml(
  format('select md5(coalesce(string_agg(t::text || t.xmin::text, '','' order by t::text), '''')) as h from %s t', t.name), false, true, '')))[1]::text, ' ' order by t.name)
from (select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = relnamespace
  where relkind = 'r' and nspname in ('rollcall', 'public') and relname <> 'reconciliations') t`).Scan(&all)
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

func (o *office) fails(is error, words ...string) postgres.Reconciled {
	o.t.Helper()
	tally, err := reconcile.Run(o.t.Context(), o.Config)
	o.wantError(err, is, words...)
	return tally
}

func (o *office) wantError(err, is error, words ...string) {
	o.t.Helper()
	if !errors.Is(err, is) {
		o.t.Fatalf("got %v, want %v", err, is)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			o.t.Errorf("%q is not in %q", w, err)
		}
	}
	if strings.Contains(err.Error(), o.clerk.Key()) {
		o.t.Errorf("the error tells the key: %v", err)
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
