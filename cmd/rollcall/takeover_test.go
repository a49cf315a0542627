//go:build timing

package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
)

// takeover is how long the work of a replica that is stopped or cut off may lie.
const takeover = 30 * time.Second

const takeoverConfig = oneMachine + `sources: {supabase: {provider: supabase}}
targets:
  profiles:
    table: public.profiles
    key: id
    set: {id: new.id, email: new.email}
    on_delete: delete
`

const takeoverTables = `create schema auth;
create table auth.users (id uuid primary key, email text, created_at timestamptz default now(), updated_at timestamptz default now());
create table profiles (id uuid primary key, email text)`

// A replica that holds the outbox is stopped, or its path to the database goes dead and then it is
// killed: PostgreSQL sees an open connection in both cases. The other replica takes over. What
// the first still submits when it goes on changes nothing.
func TestTakeoverOutbox(t *testing.T) {
	for name, test := range map[string]struct{ freeze, thaw func(*process, *wire) }{
		"stopped": {
			func(p *process, _ *wire) { _ = p.cmd.Process.Signal(syscall.SIGSTOP) },
			func(p *process, _ *wire) { _ = p.cmd.Process.Signal(syscall.SIGCONT) },
		},
		"cut off": {
			func(p *process, way *wire) { way.freeze(); p.kill() },
			func(*process, *wire) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fixture.New(t, takeoverTables)
			way, through := startWire(t, db.Address)
			c := newCLI(t, takeoverConfig, db.Address)
			holder := startProcess(t, commandLine{c.file, env(through)})
			succeeds(t, c.command(t, "capture", "install"))
			holder.log.await(t, "a capture is watched", 1)
			startProcess(t, c)

			test.freeze(holder, way)
			signUp(db, 1, "one")
			began := time.Now()
			arrives(db, "one", 2*takeover)
			took := time.Since(began)
			t.Logf("taken over after %s", took.Round(100*time.Millisecond))
			if took > takeover {
				t.Errorf("taken over after %s, want %s", took, takeover)
			}
			db.Exec("update auth.users set email = 'two', updated_at = updated_at + interval '1 s'")
			arrives(db, "two", 10*time.Second)
			test.thaw(holder, way)
			signUp(db, 2, "three")
			arrives(db, "three", 10*time.Second)
			time.Sleep(time.Second) // for what the first one may have kept
			arrives(db, "two", time.Second)
		})
	}
}

// A backfill that is stopped in the middle of its walk gives its lock up; the next one goes on
// where it was.
func TestTakeoverBackfill(t *testing.T) {
	t.Parallel()
	db := fixture.New(t, takeoverTables, `
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.01); return new; end $$;
create trigger slow before insert on profiles for each row execute function slow()`)
	c := newCLI(t, takeoverConfig, db.Address)
	succeeds(t, c.command(t, "migrate"))
	db.Exec(`insert into rollcall.users (source, id, version, email) select 'supabase', gen_random_uuid(), 1, n from generate_series(1, 1000) n`)
	first := c.command(t, "backfill", "profiles")
	var said strings.Builder
	first.Stdout, first.Stderr = &said, &said
	must.Do(t, first.Start())
	within(t, "the walk has begun", 30*time.Second, func() bool { return count(db, "select count(*) from profiles") > 0 })
	_ = first.Process.Signal(syscall.SIGSTOP)
	began := time.Now()
	var output []byte
	within(t, "another backfill has run", 2*takeover, func() bool {
		var err error
		output, err = c.command(t, "backfill", "profiles").CombinedOutput()
		return err == nil
	})
	if took := time.Since(began); took > takeover+15*time.Second { // 1,000 rows take 10 s
		t.Errorf("it ended after %s", took)
	}
	if n := count(db, "select count(*) from profiles"); n != 1000 {
		t.Errorf("%d rows, want 1000: %s", n, output)
	}
	_ = first.Process.Signal(syscall.SIGCONT)
	_ = first.Wait() // it may have had little left, and succeed
	if n := count(db, "select count(*) from profiles"); n != 1000 {
		t.Errorf("%d rows after the first went on, want 1000: %s", n, said.String())
	}
	if n := count(db, "select count(*) from rollcall.backfills where finished_at is not null"); n != 1 {
		t.Errorf("the backfill counts as unfinished after the first went on: %s", said.String())
	}
}

// A replica is stopped, or killed, in the middle of a scheduled reconciliation. Another replica goes
// on where it was. When the first goes on after all, nothing changes.
func TestTakeoverReconcile(t *testing.T) {
	const users = 6000
	for name, signal := range map[string]syscall.Signal{"stopped": syscall.SIGSTOP, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fixture.New(t, takeoverTables, "alter table profiles alter id type text")
			clerk := clerktest.New(t)
			clerk.PutMany(users)
			clerk.SetDelay(time.Second) // of each page of 500
			c := newCLI(t, strings.Replace(takeoverConfig, "supabase: {provider: supabase}",
				fmt.Sprintf(`clerk: {provider: clerk, api: {key: %s, url: "%s"}, reconcile: {schedule: "* * * * *"}}`, clerk.Key(), clerk.URL()), 1), db.Address)
			started := func() int { return clerk.Requested(clerktest.Count) }

			holder := startProcess(t, c)
			within(t, "a reconciliation has begun", 2*time.Minute, func() bool { return started() > 0 })
			other := startProcess(t, c)
			within(t, "some users are there", time.Minute, func() bool { return count(db, "select count(*) from profiles") >= 1000 })
			t.Cleanup(func() { _ = holder.cmd.Process.Signal(syscall.SIGCONT) }) // or it would not end
			_ = holder.cmd.Process.Signal(signal)
			began, before := time.Now(), count(db, "select count(*) from profiles")
			within(t, "the other goes on", 2*takeover, func() bool { return count(db, "select count(*) from profiles") > before+500 })
			if took := time.Since(began); took > takeover {
				t.Errorf("taken over after %s, want %s", took, takeover)
			} else {
				t.Logf("taken over after %s", took.Round(100*time.Millisecond))
			}
			if signal == syscall.SIGSTOP {
				_ = holder.cmd.Process.Signal(syscall.SIGCONT)
			}
			line := other.log.await(t, "reconciled", 1)
			// A page that was applied and not yet noted is found unchanged.
			created, _ := line["created"].(float64)
			if line["unchanged"] != float64(users)-created || created < users-500 || line["failed"] != 0.0 || line["deleted"] != 0.0 {
				t.Errorf("the other says %v", line)
			}
			time.Sleep(2 * time.Second) // for what the first one may still record
			if n := count(db, "select count(*) from profiles"); n != users {
				t.Errorf("%d rows, want %d", n, users)
			}
			if n := count(db, fmt.Sprintf("select count(*) from rollcall.reconciliations where created + unchanged = %d and finished_at is not null", users)); n != 1 {
				t.Errorf("%d runs ended with %d users, want 1", n, users)
			}
			if lines := other.log.Lines("a job failed"); len(lines) > 0 {
				t.Errorf("the other says %v", lines)
			}
		})
	}
}

// succeeds runs a process to its end.
func succeeds(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, output)
	}
}

func count(db *fixture.Database, sql string) int {
	db.T.Helper()
	return must.Get(strconv.Atoi(db.Rows(sql)[0]))(db.T)
}

func signUp(db *fixture.Database, n int, email string) {
	db.T.Helper()
	db.Exec(fmt.Sprintf("insert into auth.users (id, email) values ('00000000-0000-0000-0000-%012d', '%s')", n, email))
}

// arrives waits until a row of the target has an e-mail.
func arrives(db *fixture.Database, email string, patience time.Duration) {
	db.T.Helper()
	within(db.T, email+" has arrived", patience, func() bool {
		return count(db, "select count(*) from profiles where email = '"+email+"'") == 1
	})
}

func within(t testing.TB, what string, patience time.Duration, so func() bool) {
	t.Helper()
	if !soon(patience, so) {
		t.Fatalf("%s: not within %s", what, patience)
	}
}
