package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/testtag"
)

const largeConfig = oneMachine + `sources:
  supabase:
    provider: supabase
` + supabaseSession + `targets:
  profiles:
    table: public.profiles
    key: id
    set: {id: new.id, email: new.email, name: new.full_name}
    on_delete: delete
`

// largeMemory bounds what the service takes, however large the users are.
const largeMemory = 256 << 20

// large is a service beside users of any size.
type large struct {
	*instance
	t     *testing.T
	c     commandLine
	db    *fixture.Database
	users int // in auth.users
	serve *process
}

// start runs the service.
func (l *large) start() {
	l.t.Helper()
	l.serve = startProcess(l.t, l.c)
	l.instance = &instance{t: l.t, public: l.serve.public}
}

// stop ends it, and looks that it took no more memory than it may.
func (l *large) stop() {
	l.t.Helper()
	_, most := resident(l.t, l.serve.cmd.Process.Pid)
	l.t.Logf("the service took %d MiB at most", most>>20)
	if most > largeMemory {
		l.t.Errorf("the service took %d MiB, want %d at most", most>>20, largeMemory>>20)
	}
	l.serve.stop(l.t)
	l.serve = nil
}

// command runs another process to its end, which must be a success.
func (l *large) command(args ...string) string {
	l.t.Helper()
	out, err := l.c.command(l.t, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("rollcall %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// signUp inserts n users with an expression of g for their metadata.
func (l *large) signUp(n int, metadata string) {
	l.t.Helper()
	l.db.Exec(`insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at)
		select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test', `+metadata+`, now(), now()
		from generate_series($1::int, $2::int) g`, l.users+1, l.users+n)
	l.users += n
}

// inStep waits until every user's profile has the e-mail of auth.users.
func (l *large) inStep(what string) {
	l.t.Helper()
	began := time.Now()
	var wrong string
	if !soon(2*time.Minute, func() bool {
		wrong = l.db.Rows(`select count(*) from auth.users a full join profiles p on p.id = a.id where p.email is distinct from a.email`)[0]
		return wrong == "0"
	}) {
		l.t.Fatalf("%s: %s users are not in step after two minutes", what, wrong)
	}
	l.t.Logf("%s: %d users in step after %s", what, l.users, time.Since(began).Round(time.Millisecond))
}

// letters is metadata of so many bytes that hardly compress.
func letters(bytes int) string {
	return fmt.Sprintf(`jsonb_build_object('full_name', 'Ada', 'a', (select string_agg(md5(g || ' ' || n), '') from generate_series(1, %d) n))`, bytes/32)
}

// digits is metadata of 90 kB whose text takes more than a gigabyte.
const digits = `('{"full_name": "Ada", "a": [' || repeat('1e131071,', 10000) || '1]}')::jsonb`

// Users of any size stop nothing: neither capture nor reconciliation, neither just-in-time nor a
// backfill. Too large ones are followed in all but their metadata, and are named.
func TestLargeUsers(t *testing.T) {
	l := &large{t: t, db: fixture.New(t, pgtest.Auth, "create table profiles (id uuid primary key, email text, name text)")}
	l.c = newCLI(t, largeConfig, l.db.Address)
	l.start()
	l.command("capture", "install")
	l.serve.log.await(t, "a capture is watched", 1)

	l.signUp(1, "'{}'::jsonb")
	l.signUp(testtag.Part(1000), letters(100_000))
	l.signUp(testtag.Part(10), letters(8_000_000))
	l.signUp(1, letters(testtag.Part(64_000_000)))
	l.signUp(1, digits)
	l.signUp(1, "jsonb_build_object('a', repeat('x', 40000000))")
	l.signUp(1, "'{}'::jsonb")
	l.inStep("captured")
	var kept int
	must.Do(t, l.db.SQL.QueryRow(t.Context(), "select count(*) from rollcall.users where 'raw_user_meta_data' = any(kept)").Scan(&kept))
	if want := testtag.Part(10) + 3; kept != want {
		t.Errorf("%d users keep their metadata, want %d", kept, want)
	}
	named := map[any]bool{}
	for _, line := range l.serve.log.Lines("columns keep their last known value; the rest is applied") {
		named[line["user"]] = true
	}
	if len(named) != kept {
		t.Errorf("%d of %d are named in the log", len(named), kept)
	}

	// just-in-time
	l.db.Exec("alter table auth.users disable trigger user; update auth.users set email = 'now-' || email")
	for n := l.users - 6; n <= l.users; n++ {
		if got := l.call(http.MethodPost, l.supabaseToken(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)), nil); got.status != http.StatusOK {
			t.Errorf("user %d: %s", n, got)
		}
	}

	// reconciliation
	if out := l.command("reconcile", "supabase", "--dry-run"); !strings.Contains(out, "failed 0") {
		t.Errorf("a dry run says %s", out)
	}
	if out := l.command("reconcile", "supabase"); !strings.Contains(out, fmt.Sprintf("updated %d, ", l.users-7)) || !strings.Contains(out, "failed 0") {
		t.Errorf("reconcile says %s", out)
	}
	l.inStep("reconciled")
	if out := l.command("reconcile", "supabase"); !strings.Contains(out, fmt.Sprintf("created 0, updated 0, touched 0, deleted 0, unchanged %d, failed 0", l.users)) {
		t.Errorf("reconcile says %s", out)
	}

	// a backfill
	l.db.Exec("delete from profiles")
	l.command("backfill", "profiles")
	l.inStep("filled")

	// a backlog
	l.stop()
	l.db.Exec("alter table auth.users enable trigger user")
	l.signUp(testtag.Part(2001), letters(256_000))
	l.db.Exec("update auth.users set email = 'again-' || email")
	l.start()
	l.inStep("caught up")
	l.stop()
}
