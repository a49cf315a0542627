package capture_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/capture"
	"rollcall/internal/event"
	"rollcall/internal/pgtest"
	"rollcall/internal/pipeline"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const profiles = `create table profiles (id uuid primary key, email text, name text, visits int not null default 0)`

func profileTarget() target.Target {
	expr := func(sql string) target.Expr { return target.Expr{SQL: sql, At: "test.yaml:1:1"} }
	return target.Target{
		Name: "profiles", At: "test.yaml:1:1", Table: "public.profiles", Key: []string{"id"},
		From:     []target.Origin{{Source: "supabase", SampleID: source.SampleID(source.Supabase)}},
		Set:      []target.Assignment{{Column: "id", Expr: expr("new.id")}, {Column: "email", Expr: expr("new.email")}, {Column: "name", Expr: expr("new.full_name")}},
		OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
}

var users = postgres.Capture{Source: "supabase", Table: "auth.users"}

// house is a Supabase project's database and what keeps its profiles in step.
type house struct {
	t      testing.TB
	url    string
	sql    *pgx.Conn
	outbox string // the table
	*replica
}

// replica is a Rollcall that empties the outbox.
type replica struct {
	db       *postgres.DB
	pipeline *pipeline.Pipeline
	source   *source.Source
	stop     func()
}

// newHouse makes the database, installs the capture and follows the table; nobody empties the
// outbox yet.
func newHouse(t testing.TB) *house {
	t.Helper()
	h := emptyHouse(t)
	if err := h.db.InstallCapture(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	if err := h.db.Follow(t.Context(), users.Source, users.Table); err != nil {
		t.Fatal(err)
	}
	h.outbox = "rollcall_provider.outbox"
	return h
}

// oldHouse has the trigger of older versions, whose changes count by their data.
func oldHouse(t testing.TB) *house {
	t.Helper()
	h := emptyHouse(t)
	h.exec(`create constraint trigger rollcall_capture after insert or update or delete on auth.users
deferrable initially deferred for each row execute function rollcall.capture('supabase')`)
	h.outbox = "rollcall.outbox"
	return h
}

func emptyHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, url: pgtest.NewWith(t, pgtest.Auth, profiles)}
	var err error
	if h.sql, err = pgx.Connect(t.Context(), h.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.sql.Close(context.Background()) })
	h.replica = h.newReplica()
	if _, err := h.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err := h.db.Check(t.Context()); err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	return h
}

// ofBothKinds runs a test for a source whose events count by their version, and for one whose table
// decides.
func ofBothKinds(t *testing.T, test func(*testing.T, *house)) {
	t.Run("body source", func(t *testing.T) {
		t.Parallel()
		test(t, oldHouse(t))
	})
	t.Run("table source", func(t *testing.T) {
		t.Parallel()
		test(t, newHouse(t))
	})
}

// follow makes the source a table source.
func (h *house) follow() {
	h.t.Helper()
	if err := h.db.Follow(h.t.Context(), "supabase", "auth.users"); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) newReplica() *replica {
	h.t.Helper()
	db, err := postgres.Open(postgres.Config{URL: h.url, Targets: []target.Target{profileTarget()}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(db.Close)
	src, err := source.New(source.Config{Name: "supabase", Provider: source.Supabase})
	if err != nil {
		h.t.Fatal(err)
	}
	p := pipeline.New(pipeline.Config{Apply: db.Apply})
	p.Start()
	h.t.Cleanup(func() { p.Shutdown(context.Background()) })
	return &replica{db: db, pipeline: p, source: src, stop: func() {}}
}

// run empties the outbox until stop.
func (r *replica) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		capture.Run(ctx, capture.Config{
			Sources: []*source.Source{r.source}, DB: r.db, Submit: r.pipeline.SubmitAll,
			Observe: func(string, event.Outcome) {}, Log: slog.New(slog.DiscardHandler),
		})
		close(ended)
	}()
	r.stop = func() { cancel(); <-ended }
}

func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.sql.Exec(h.t.Context(), sql, args...); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

func (h *house) rows(sql string) []string {
	h.t.Helper()
	rows, _ := h.sql.Query(h.t.Context(), sql)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
	return list
}

func (h *house) want(sql string, want ...string) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.rows(sql)); diff != "" {
		h.t.Errorf("%s (-want +got):\n%s", sql, diff)
	}
}

// settled waits until the outbox is empty.
func (h *house) settled() {
	h.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if slices.Equal(h.rows("select exists (select from "+h.outbox+")::text"), []string{"false"}) {
			return
		}
	}
	h.t.Fatal("the outbox isn't emptied")
}

// id is the n-th user's.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

const shown = "select right(id::text, 1) || ' ' || coalesce(email, '-') || ' ' || coalesce(name, '-') from profiles order by 1"

// What happens to a user in auth.users happens to his profile, whoever does it.
func TestFollowsTheTable(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(t *testing.T, h *house) {
		h.run()
		t.Cleanup(func() { h.stop() })
		step := func(sql string, want ...string) {
			t.Helper()
			h.exec(sql)
			h.settled()
			h.want(shown, want...)
		}
		a, b := id(1), id(2)
		step(`insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at) values
		('`+a+`', 'a@x.test', '{"full_name": "Ada"}', now(), now()), ('`+b+`', 'b@x.test', null, now(), now())`, "1 a@x.test Ada", "2 b@x.test -")
		step("update auth.users set email = 'a2@x.test', updated_at = now() where id = '"+a+"'", "1 a2@x.test Ada", "2 b@x.test -")
		step("update auth.users set email = 'a3@x.test' where id = '"+a+"'", "1 a3@x.test Ada", "2 b@x.test -") // by SQL, updated_at stays
		step("update auth.users set raw_user_meta_data = '{\"full_name\": \"Ben\"}' where id = '"+b+"'", "1 a3@x.test Ada", "2 b@x.test Ben")
		step("update auth.users set email = 'gone', phone = 'gone', raw_user_meta_data = '{}', deleted_at = now() where id = '"+b+"'", "1 a3@x.test Ada")
		step("update auth.users set id = '"+id(3)+"' where id = '"+a+"'", "3 a3@x.test Ada")
		h.exec("delete from auth.users")
		h.settled()
		h.want("select count(*)::text from profiles", "0")
		h.want("select right(id, 1) from rollcall.users where deleted_at is not null order by 1", "1", "2", "3")
	})
}

// Of several changes that wait, the last one counts, also where SQL left the version as it
// was; a deletion ends them all, of a body source for good.
func TestLastCommitCounts(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, h *house) {
		for n := 1; n <= 3; n++ {
			h.exec("insert into auth.users (id, email, updated_at) values ($1, $2, '2026-01-01')", id(n), fmt.Sprint("first", n))
			h.exec("update auth.users set email = 'second' || right(id::text, 1) where id = $1", id(n))
		}
		h.exec("update auth.users set email = 'last' where id = $1", id(1))
		h.exec("delete from auth.users where id = $1", id(2))
		h.exec("delete from auth.users where id = $1", id(3))
		h.exec("insert into auth.users (id, email, updated_at) values ($1, 'back', now())", id(3))
		h.run()
		h.settled()
		h.stop()
		want := []string{"1last"}
		if h.db.Follows("supabase") {
			want = append(want, "3back") // that the table has lives
		}
		h.want("select right(id::text, 1) || email from profiles order by 1", want...)
	})
}

// A function of somebody else's, found first by the caller's own search path, is not what
// runs with Rollcall's rights.
func TestKeepsToItsOwnSearchPath(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.script(`create schema evil; create function evil.to_jsonb(anyelement) returns jsonb language plpgsql as $$ begin raise exception 'evil'; end $$;
set search_path = evil, pg_catalog; insert into auth.users (id) values ('` + id(1) + `')`)
	h.want("select count(*)::text from "+h.outbox, "1")
}

// A sign-in is not noted, and no secret is.
func TestNotesWhatMatters(t *testing.T) {
	t.Parallel()
	for _, h := range []*house{newHouse(t), oldHouse(t)} {
		h.exec("insert into auth.users (id, email, encrypted_password, confirmation_token, recovery_token) values ($1, 'a@x.test', 'hash', 'token', 'token')", id(1))
		h.exec("update auth.users set last_sign_in_at = now(), updated_at = now()")
		h.exec("update auth.users set encrypted_password = 'hash2', recovery_token = ''")
		h.want("select count(*)::text from "+h.outbox, "1")
		for _, column := range []string{"email", "phone", "raw_user_meta_data", "raw_app_meta_data", "email_confirmed_at", "phone_confirmed_at", "banned_until", "deleted_at", "is_anonymous", "created_at"} {
			value := map[string]string{"email": "'n'", "phone": "'1'", "raw_user_meta_data": `'{"a":1}'`, "raw_app_meta_data": `'{"a":1}'`, "is_anonymous": "true"}[column]
			if value == "" {
				value = "now()"
			}
			h.exec("delete from " + h.outbox)
			h.exec("update auth.users set " + column + " = " + value)
			h.want("select count(*)::text from "+h.outbox, "1")
		}
		if h.outbox == "rollcall.outbox" {
			h.want("select string_agg(key, ' ' order by key) from rollcall.outbox, jsonb_each(data)",
				"banned_until created_at deleted_at email email_confirmed_at id is_anonymous last_sign_in_at phone phone_confirmed_at raw_app_meta_data raw_user_meta_data updated_at")
		} else {
			h.want("select string_agg(key, ' ' order by key) from rollcall_provider.outbox o, to_jsonb(o) j, jsonb_each(j)", "at gone id source user_id")
		}
	}
}

// Two replicas read the same outbox; what the first has applied, the second doesn't.
func TestTwoReadersApplyOnce(t *testing.T) {
	t.Parallel()
	h := oldHouse(t)
	other := h.newReplica()
	if _, err := other.db.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.exec("insert into auth.users (id, email, updated_at) values ($1, 'old', '2026-01-01')", id(1))
	read := func() []postgres.Change {
		t.Helper()
		o, err := h.db.HoldOutbox(t.Context())
		if err != nil || o == nil {
			t.Fatal(o, err)
		}
		defer o.Release()
		changes, err := o.Next(t.Context(), postgres.OutboxPage{Sources: []string{"supabase"}, Changes: 10, Bytes: 1 << 20})
		if err != nil || len(changes) != 1 {
			t.Fatal(changes, err)
		}
		return changes
	}
	submit := func(r *replica, c postgres.Change) event.Outcome {
		t.Helper()
		user, err := r.source.DecodeUser(c.Data, c.At)
		if err != nil {
			t.Fatal(err)
		}
		o, err := r.pipeline.Submit(t.Context(), event.Event{Source: "supabase", Op: event.Upsert, UserID: user.ID, User: user, Captured: []int64{c.ID}})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	stale := read()[0]
	if o := submit(h.replica, stale); o != event.Applied {
		t.Errorf("the first reader: %s", o)
	}
	h.exec("update auth.users set email = 'new'") // by SQL: the version stays
	if o := submit(h.replica, read()[0]); o != event.Applied {
		t.Errorf("the next change: %s", o)
	}
	if o := submit(other, stale); o != event.Stale {
		t.Errorf("the second reader: %s", o)
	}
	h.want("select email from profiles", "new")
}

// failures are what may befall the outbox; mend undoes them.
var failures = map[string]struct{ fail, mend string }{
	"dropped":         {"create table rollcall_provider.spare (like rollcall_provider.outbox including all); drop table rollcall_provider.outbox", "alter table rollcall_provider.spare rename to outbox"},
	"of another form": {"alter table rollcall_provider.outbox rename column gone to other", "alter table rollcall_provider.outbox rename column other to gone"},
	"read-only":       {"alter table rollcall_provider.outbox rename to lost; create view rollcall_provider.outbox as select distinct * from rollcall_provider.lost", "drop view rollcall_provider.outbox; alter table rollcall_provider.lost rename to outbox"},
	"full":            {"create function full_up() returns trigger language plpgsql as $$ begin raise exception 'no space left on device' using errcode = '53100'; end $$; create trigger f before insert on rollcall_provider.outbox for each row execute function full_up()", "drop trigger f on rollcall_provider.outbox"},
	"out of numbers":  {"alter table rollcall_provider.outbox alter id set maxvalue 4611686018427388904; select setval(pg_get_serial_sequence('rollcall_provider.outbox', 'id'), 4611686018427388904)", "alter table rollcall_provider.outbox alter id set maxvalue 9223372036854775807"},
	"without rights":  {"create role %[1]s; grant usage, create on schema rollcall_provider to %[1]s; alter function rollcall_provider.capture() owner to %[1]s", "reassign owned by %[1]s to current_user; drop owned by %[1]s; drop role %[1]s"},
}

// Whatever becomes of the outbox, a sign-up commits, and soon; reconciliation finds the
// user.
func TestNeverFailsASignUp(t *testing.T) {
	testtag.Parallel(t)
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			role := "capture_" + strings.ToLower(rand.Text())
			h.script(strings.ReplaceAll(f.fail, "%[1]s", role))
			h.signUp()
			h.script(strings.ReplaceAll(f.mend, "%[1]s", role))
			h.want("select count(*)::text from "+h.outbox, "0")
			h.found()
		})
	}
	t.Run("locked", func(t *testing.T) {
		h := newHouse(t)
		other, err := pgx.Connect(t.Context(), h.url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close(context.Background()) }()
		if _, err := other.Exec(t.Context(), "begin; lock table "+h.outbox); err != nil {
			t.Fatal(err)
		}
		h.signUp()
		start := time.Now()
		h.exec("insert into auth.users (id, email) select gen_random_uuid(), g || '@y.test' from generate_series(1, 20) g")
		if took := time.Since(start); testtag.Timing && took > 300*time.Millisecond {
			t.Errorf("20 sign-ups in one transaction took %s", took)
		}
		if _, err := other.Exec(t.Context(), "rollback"); err != nil {
			t.Fatal(err)
		}
		h.want("select count(*)::text from "+h.outbox, "0")
		h.found()
	})
}

// Nothing that a session sets by itself silences the capture. Giving up is for one transaction.
func TestNoSettingSilencesTheCapture(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.script("set rollcall.capture_gave_up = 'yes'")
	h.exec("insert into auth.users (id, email, updated_at) values ($1, 'a@x.test', now())", id(1))
	h.script("do $$ begin perform set_config('rollcall.capture_gave_up', pg_current_xact_id()::text, false); end $$")
	h.exec("insert into auth.users (id, email, updated_at) values ($1, 'b@x.test', now())", id(2))
	h.want("select count(*)::text from "+h.outbox, "2")
}

func (h *house) script(sql string) {
	h.t.Helper()
	if _, err := h.sql.PgConn().Exec(h.t.Context(), sql).ReadAll(); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

// signUp inserts a user and notes how long that took beside one who is captured well.
func (h *house) signUp() {
	h.t.Helper()
	start := time.Now()
	h.exec("insert into auth.users (id, email, updated_at) values ($1, 'a@x.test', now())", id(1))
	if took := time.Since(start); testtag.Timing && took > 300*time.Millisecond {
		h.t.Errorf("the sign-up took %s", took)
	}
	h.want("select count(*)::text from auth.users", "1")
}

// found reconciles and looks for the profiles.
func (h *house) found() {
	h.t.Helper()
	_, err := reconcile.Run(h.t.Context(), reconcile.Config{
		Source: h.source, Table: users.Table, MaxDelete: 0.05, DB: h.db, Submit: h.pipeline.SubmitAll, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Error(err)
	}
	h.want("select count(*)::text from profiles", h.rows("select count(*)::text from auth.users")...)
}
