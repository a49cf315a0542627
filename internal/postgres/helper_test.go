package postgres

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench is a fresh database with its targets, and a second connection to look and to
// interfere.
type bench struct {
	*DB
	t   testing.TB
	url string
	sql *pgtest.Conn
}

// newBench runs the schema of the applications, migrates, and puts the targets into
// service; a finding fails the test.
func newBench(t testing.TB, schema string, targets ...target.Target) *bench {
	t.Helper()
	b := emptyBench(t, schema, targets...)
	found, err := b.Check(t.Context())
	if err != nil || len(target.Faults(found)) > 0 {
		t.Fatalf("check: %v, findings %v", err, found)
	}
	return b
}

// emptyBench is newBench before the targets are checked.
func emptyBench(t testing.TB, schema string, targets ...target.Target) *bench {
	t.Helper()
	url := pgtest.New(t)
	b := &bench{t: t, url: url, sql: pgtest.Connect(t, url)}
	b.exec(schema)
	db := must.Get(Open(Config{URL: url, Targets: targets, LockTimeout: 300 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(db.Close)
	b.DB = db
	must.Get(b.Migrate(t.Context()))(t)
	return b
}

func connect(t testing.TB, url string) *pgx.Conn { return pgtest.Connect(t, url).Conn }

func (b *bench) exec(sql string) {
	b.t.Helper()
	b.sql.Run(sql)
}

func execOn(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (b *bench) rows(sql string) []string {
	b.t.Helper()
	return b.sql.Rows(sql)
}

func (b *bench) wantRows(sql string, want ...string) {
	b.t.Helper()
	b.sql.WantRows(sql, want...)
}

// apply applies a batch and compares the outcomes.
func (b *bench) apply(want []event.Outcome, events ...event.Event) {
	b.t.Helper()
	got, err := b.Apply(b.t.Context(), events)
	if err != nil {
		b.t.Fatalf("apply: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// all repeats an outcome.
func all(o event.Outcome, n int) []event.Outcome { return slices.Repeat([]event.Outcome{o}, n) }

var applied = all(event.Applied, 1)

// user is one of source "app" at a version.
func user(id string, version int64, email string) *event.User {
	u := &event.User{Row: event.Row{Source: "app", ID: id, Version: version}, RawUserMetaData: "{}", RawAppMetaData: "{}"}
	if email != "" {
		u.Email = &email
	}
	return u
}

// said makes an event of a user's state; its id is derived from both.
func said(u *event.User) event.Event {
	return event.Event{
		Source: u.Source, ID: fmt.Sprintf("%s-%d", u.ID, u.Version), Type: "user.updated", Op: event.Upsert,
		UserID: u.ID, User: u, ReceivedAt: time.Unix(1_700_000_000, 0), Body: []byte("{}"),
	}
}

func updated(id string, version int64, email string) event.Event {
	return said(user(id, version, email))
}

// gone makes an event of a user's deletion.
func gone(id string, version int64) event.Event {
	at := time.Unix(1_700_000_000, 0).UTC()
	return event.Event{
		Source: "app", ID: id + "-gone", Type: "user.deleted", Op: event.Delete, UserID: id,
		User: &event.User{Row: event.Row{Source: "app", ID: id, Version: version, DeletedAt: &at}}, ReceivedAt: at,
	}
}

// finding strips an event of its id: what reconciliation and the like submit.
func finding(e event.Event) event.Event {
	e.ID = ""
	return e
}

var fromApp = []target.Origin{{Source: "app", SampleID: "u1"}}

// assign reads "column: expression" lines.
func assign(lines ...string) []target.Assignment {
	var list []target.Assignment
	for _, line := range lines {
		column, sql, _ := strings.Cut(line, ": ")
		list = append(list, target.Assignment{Column: column, Expr: target.Expr{SQL: sql, At: "test.yaml:1:1"}})
	}
	return list
}

// profiles is a target that follows everything of a table p(id, email, name, role).
func profiles() target.Target {
	return target.Target{
		Name: "profiles", At: "test.yaml:1:1", Table: "public.p", From: fromApp, Key: []string{"id"},
		Set:      assign("id: new.id", "email: new.email", "name: new.first_name"),
		OnInsert: assign("role: 'customer'"), OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
}

const profilesTable = `create table p (id text primary key, email text unique, name text, role text);`
