package capture_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/target"
	"rollcall/internal/testlog"
	"rollcall/internal/testtag"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var users = outbox.Capture{Source: "supabase", Table: "auth.users"}

// project is a database with a captured auth.users, and a replica that keeps its profiles in step.
type project struct {
	*fixture.Database
	outbox string // the table
	*replica
}

// replica is a Rollcall that empties the outbox.
type replica struct {
	*fixture.Rollcall
	source *source.Source
	stop   func()
}

// newProject installs the capture and follows the table; nothing empties the outbox yet.
func newProject(t testing.TB) *project {
	t.Helper()
	p := withoutCapture(t)
	must.Do(t, p.DB.Outbox().Install(t.Context(), users))
	p.follow()
	p.outbox = "rollcall_provider.outbox"
	return p
}

// oldProject has the trigger of older versions, whose changes count by their data.
func oldProject(t testing.TB) *project {
	t.Helper()
	p := withoutCapture(t)
	p.Exec(`create constraint trigger rollcall_capture after insert or update or delete on auth.users
deferrable initially deferred for each row execute function rollcall.capture('supabase')`)
	p.outbox = "rollcall.outbox"
	return p
}

func withoutCapture(t testing.TB) *project {
	t.Helper()
	p := &project{Database: fixture.Supabase(t)}
	p.replica = p.newReplica()
	return p
}

// ofBothKinds runs a test for a source whose events count by their version, and for one whose table
// decides.
func ofBothKinds(t *testing.T, test func(*testing.T, *project)) {
	t.Run("body source", func(t *testing.T) {
		t.Parallel()
		test(t, oldProject(t))
	})
	t.Run("table source", func(t *testing.T) {
		t.Parallel()
		test(t, newProject(t))
	})
}

// follow makes the source a table source.
func (p *project) follow() {
	p.T.Helper()
	must.Do(p.T, p.DB.Roll().Follow(p.T.Context(), "supabase", "auth.users"))
}

func (p *project) newReplica() *replica {
	p.T.Helper()
	r := p.Start(postgres.Config{Targets: []target.Target{fixture.Target(source.Supabase)}})
	return &replica{r, fixture.Source(p.T, source.Supabase), func() {}}
}

// run empties the outbox until stop.
func (r *replica) run() { r.runWith(slog.DiscardHandler) }

func (r *replica) runWith(log slog.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		capture.Run(ctx, capture.Config{
			Sources: []*source.Source{r.source}, DB: r.DB, Submit: r.Pipeline.SubmitAll,
			Observe: func(string, event.Outcome) {}, Log: slog.New(log),
		})
	})
	r.stop = func() { cancel(); running.Wait() }
}

func (p *project) runUntilTheEnd() {
	p.run()
	p.T.Cleanup(func() { p.stop() })
}

// drain empties the outbox once.
func (p *project) drain() {
	p.T.Helper()
	p.run()
	p.settled()
	p.stop()
}

// settled waits until the outbox is empty.
func (p *project) settled() {
	p.T.Helper()
	p.Await("select exists (select from "+p.outbox+")::text", "false")
}

const shown = "select right(id::text, 1) || ' ' || coalesce(email, '-') || ' ' || coalesce(name, '-') from profiles order by 1"

// What happens to a user in auth.users happens to the profile, whatever does it.
func TestFollowsTheTable(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(t *testing.T, p *project) {
		p.runUntilTheEnd()
		step := func(sql string, want ...string) {
			t.Helper()
			p.Exec(sql)
			p.settled()
			p.Want(shown, want...)
		}
		a, b := fixture.ID(1), fixture.ID(2)
		step(`insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at) values
		('`+a+`', 'a@x.test', '{"full_name": "Ada"}', now(), now()), ('`+b+`', 'b@x.test', null, now(), now())`, "1 a@x.test Ada", "2 b@x.test -")
		step("update auth.users set email = 'a2@x.test', updated_at = now() where id = '"+a+"'", "1 a2@x.test Ada", "2 b@x.test -")
		step("update auth.users set email = 'a3@x.test' where id = '"+a+"'", "1 a3@x.test Ada", "2 b@x.test -") // by SQL, updated_at stays
		step("update auth.users set raw_user_meta_data = '{\"full_name\": \"Ben\"}' where id = '"+b+"'", "1 a3@x.test Ada", "2 b@x.test Ben")
		step("update auth.users set email = 'gone', phone = 'gone', raw_user_meta_data = '{}', deleted_at = now() where id = '"+b+"'", "1 a3@x.test Ada")
		step("update auth.users set id = '"+fixture.ID(3)+"' where id = '"+a+"'", "3 a3@x.test Ada")
		p.Exec("delete from auth.users")
		p.settled()
		p.Want("select count(*)::text from profiles", "0")
		p.Want("select right(id, 1) from rollcall.users where deleted_at is not null order by 1", "1", "2", "3")
	})
}

// Each change has a line in the log, in the words of the line of a webhook, and without personal data.
func TestChangesAreLogged(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(t *testing.T, p *project) {
		log := &testlog.Log{}
		p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'ada@example.com', now())", fixture.ID(1))
		p.runWith(slog.NewJSONHandler(log, nil))
		must.Await(t, "the line of the change", func() bool { return len(log.Lines("captured")) == 1 }, log)
		p.stop()
		line := log.Lines("captured")[0]
		must.Equal(t, fmt.Sprint(line["level"], line["source"], line["type"], line["outcome"], line["user"]),
			fmt.Sprint("INFO", "supabase", "captured", "applied", fixture.ID(1)), "the line")
		seconds, ok := line["seconds"].(float64)
		must.True(t, ok && seconds > 0 && seconds < 60, "seconds: %v", line["seconds"])
		must.Lack(t, log.String(), "ada@")

		p.Exec("alter table profiles add check (email <> 'no')")
		p.Exec("update auth.users set email = 'no' where id = $1", fixture.ID(1))
		p.runWith(slog.NewJSONHandler(log, nil))
		must.Await(t, "the line of the parked", func() bool { return len(log.Lines("captured")) == 2 }, log)
		p.stop()
		line = log.Lines("captured")[1]
		must.Equal(t, fmt.Sprint(line["level"], line["outcome"]), "WARNparked", "the line of a user who is parked")
	})
}

// Of several changes that wait, the last one counts, also where SQL left the version as it
// was; a deletion ends them all, of a body source for good.
func TestLastCommitCounts(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, p *project) {
		for n := 1; n <= 3; n++ {
			p.Exec("insert into auth.users (id, email, updated_at) values ($1, $2, '2026-01-01')", fixture.ID(n), fmt.Sprint("first", n))
			p.Exec("update auth.users set email = 'second' || right(id::text, 1) where id = $1", fixture.ID(n))
		}
		p.Exec("update auth.users set email = 'last' where id = $1", fixture.ID(1))
		p.Exec("delete from auth.users where id = $1", fixture.ID(2))
		p.Exec("delete from auth.users where id = $1", fixture.ID(3))
		p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'back', now())", fixture.ID(3))
		p.drain()
		want := []string{"1last"}
		if p.DB.Roll().Follows("supabase") {
			want = append(want, "3back") // that the table has lives
		}
		p.Want("select right(id::text, 1) || email from profiles order by 1", want...)
	})
}

// A function of another role, found first by the caller's own search path, is not what
// runs with Rollcall's rights.
func TestKeepsToItsOwnSearchPath(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.Exec(`create schema evil; create function evil.to_jsonb(anyelement) returns jsonb language plpgsql as $$ begin raise exception 'evil'; end $$;
set search_path = evil, pg_catalog; insert into auth.users (id) values ('` + fixture.ID(1) + `')`)
	p.Want("select count(*)::text from "+p.outbox, "1")
}

// A sign-in is not noted, and no secret is.
func TestNotesWhatMatters(t *testing.T) {
	t.Parallel()
	for _, p := range []*project{newProject(t), oldProject(t)} {
		p.Exec("insert into auth.users (id, email, encrypted_password, confirmation_token, recovery_token) values ($1, 'a@x.test', 'hash', 'token', 'token')", fixture.ID(1))
		p.Exec("update auth.users set last_sign_in_at = now(), updated_at = now()")
		p.Exec("update auth.users set encrypted_password = 'hash2', recovery_token = ''")
		p.Want("select count(*)::text from "+p.outbox, "1")
		for _, column := range []string{"email", "phone", "raw_user_meta_data", "raw_app_meta_data", "email_confirmed_at", "phone_confirmed_at", "banned_until", "deleted_at", "is_anonymous", "created_at"} {
			value := map[string]string{"email": "'n'", "phone": "'1'", "raw_user_meta_data": `'{"a":1}'`, "raw_app_meta_data": `'{"a":1}'`, "is_anonymous": "true"}[column]
			if value == "" {
				value = "now()"
			}
			p.Exec("delete from " + p.outbox)
			p.Exec("update auth.users set " + column + " = " + value)
			p.Want("select count(*)::text from "+p.outbox, "1")
		}
		if p.outbox == "rollcall.outbox" {
			p.Want("select string_agg(key, ' ' order by key) from rollcall.outbox, jsonb_each(data)",
				"banned_until created_at deleted_at email email_confirmed_at id is_anonymous last_sign_in_at phone phone_confirmed_at raw_app_meta_data raw_user_meta_data updated_at")
		} else {
			p.Want("select string_agg(key, ' ' order by key) from rollcall_provider.outbox o, to_jsonb(o) j, jsonb_each(j)", "at gone id source user_id")
		}
	}
}

// Two replicas read the same outbox; what the first has applied, the second doesn't.
func TestTwoReadersApplyOnce(t *testing.T) {
	t.Parallel()
	p := oldProject(t)
	other := p.newReplica()
	must.Get(other.DB.Targets().Check(t.Context()))(t)
	p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'old', '2026-01-01')", fixture.ID(1))
	read := func() []outbox.Change {
		t.Helper()
		o := must.Get(p.DB.Outbox().Hold(t.Context()))(t)
		defer o.Release()
		changes, err := o.Next(t.Context(), outbox.Page{Sources: []string{"supabase"}, Changes: 10, Bytes: 1 << 20})
		if err != nil || len(changes) != 1 {
			t.Fatal(changes, err)
		}
		return changes
	}
	submit := func(r *replica, c outbox.Change) event.Outcome {
		t.Helper()
		user := must.Get(r.source.DecodeUser(c.Data, c.At))(t)
		return must.Get(r.Pipeline.Submit(t.Context(), event.Event{Source: "supabase", Op: event.Upsert, UserID: user.ID, User: user, Captured: []int64{c.ID}}))(t)
	}
	stale := read()[0]
	must.Equal(t, submit(p.replica, stale), event.Applied, "the first reader")
	p.Exec("update auth.users set email = 'new'") // by SQL: the version stays
	must.Equal(t, submit(p.replica, read()[0]), event.Applied, "the next change")
	must.Equal(t, submit(other, stale), event.Stale, "the second reader")
	p.Want("select email from profiles", "new")
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
			p := newProject(t)
			role := "capture_" + strings.ToLower(rand.Text())
			p.Exec(strings.ReplaceAll(f.fail, "%[1]s", role))
			p.signUp()
			p.Exec(strings.ReplaceAll(f.mend, "%[1]s", role))
			p.Want("select count(*)::text from "+p.outbox, "0")
			p.found()
		})
	}
	t.Run("locked", func(t *testing.T) {
		p := newProject(t)
		other := p.Connect()
		must.Get(other.Exec(t.Context(), "begin; lock table "+p.outbox))(t)
		p.signUp()
		start := time.Now()
		p.Exec("insert into auth.users (id, email) select gen_random_uuid(), g || '@y.test' from generate_series(1, 20) g")
		if took := time.Since(start); testtag.Timing && took > 300*time.Millisecond {
			t.Errorf("20 sign-ups in one transaction took %s", took)
		}
		must.Get(other.Exec(t.Context(), "rollback"))(t)
		p.Want("select count(*)::text from "+p.outbox, "0")
		p.found()
	})
}

// Nothing that a session sets by itself silences the capture. Giving up is for one transaction.
func TestNoSettingSilencesTheCapture(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.Exec("set rollcall.capture_gave_up = 'yes'")
	p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'a@x.test', now())", fixture.ID(1))
	p.Exec("do $$ begin perform set_config('rollcall.capture_gave_up', pg_current_xact_id()::text, false); end $$")
	p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'b@x.test', now())", fixture.ID(2))
	p.Want("select count(*)::text from "+p.outbox, "2")
}

// signUp inserts a user and notes how long that took beside one who is captured well.
func (p *project) signUp() {
	p.T.Helper()
	start := time.Now()
	p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'a@x.test', now())", fixture.ID(1))
	if took := time.Since(start); testtag.Timing && took > 300*time.Millisecond {
		p.T.Errorf("the sign-up took %s", took)
	}
	p.Want("select count(*)::text from auth.users", "1")
}

// found reconciles and looks for the profiles.
func (p *project) found() {
	p.T.Helper()
	must.Get(reconcile.Run(p.T.Context(), reconcile.Config{
		Source: p.source, Table: users.Table, MaxDelete: 0.05, DB: p.DB, Submit: p.Pipeline.SubmitAll, Log: slog.New(slog.DiscardHandler),
	}))(p.T)
	p.Want("select count(*)::text from profiles", p.Rows("select count(*)::text from auth.users")...)
}

// A holder of the outbox that does not empty it is named once by the log of the others.
func TestSaysOnceThatTheHolderIsSlow(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	holder := must.Get(p.DB.Outbox().Hold(t.Context()))(t) // and leaves it as it is
	defer holder.Release()
	p.Exec("insert into rollcall.outbox (source, user_id, gone, data, at) values ('supabase', $1, false, '{}', clock_timestamp() - interval '20 seconds')", fixture.ID(1))
	log := &testlog.Log{}
	other := p.newReplica()
	other.runWith(slog.NewTextHandler(log, nil))
	time.Sleep(3 * time.Second) // it has looked, and twenty seconds are not long
	must.Equal(t, log.String(), "", "log")
	p.Exec("update rollcall.outbox set at = at - interval '20 seconds'")
	time.Sleep(7 * time.Second) // for three looks
	other.stop()
	said := log.String()
	if strings.Count(said, "\n") != 1 || !strings.Contains(said, "level=WARN") || !strings.Contains(said, "another replica holds the outbox") ||
		!strings.Contains(said, "backend ") {
		t.Errorf("the log says %s", said)
	}
}

// Of two changes of a user the later counts, unless they were deleted or it can't be read. The version never goes back.
func TestFollowed(t *testing.T) {
	t.Parallel()
	change := func(op event.Op, row int64, version int64) event.Event {
		e := event.Event{Op: op, Captured: []int64{row}}
		if version > 0 {
			e.User = &event.User{Row: event.Row{Version: version}}
		}
		return e
	}
	for name, tt := range map[string]struct{ before, e, want event.Event }{
		"a later change":             {change(event.Upsert, 1, 5), change(event.Upsert, 2, 7), change(event.Upsert, 2, 7)},
		"of a server that is behind": {change(event.Upsert, 1, 5), change(event.Upsert, 2, 3), change(event.Upsert, 2, 5)},
		"a deletion before":          {change(event.Delete, 1, 5), change(event.Upsert, 2, 7), change(event.Delete, 1, 5)},
		"one that can't be read":     {change(event.Upsert, 1, 5), change(event.Undecodable, 2, 0), change(event.Upsert, 1, 5)},
		"a look behind a change":     {change(event.Upsert, 1, 5), change(event.Look, 2, 0), change(event.Look, 2, 0)},
		"a change behind a look":     {change(event.Look, 1, 0), change(event.Upsert, 2, 7), change(event.Upsert, 2, 7)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.want.Captured = []int64{1, 2}
			must.Equal(t, capture.Followed(tt.before, tt.e), tt.want, "what counts")
		})
	}
}
