package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/testtag"
)

// carefulSource is one that would rather have a sign-up refused than not noted.
var carefulSource = strings.Replace(twoSources, "limits:", `  careful:
    provider: supabase
    signing_secrets: ["${SUPABASE_SECRET}"]
    when_unavailable: refuse
limits:`, 1)

// countedTables are the shop's, with a line in writes for each time a row is written.
const countedTables = shopTables + `;
create table writes (id text, operation text);
create function count_write() returns trigger language plpgsql as $$
begin insert into public.writes values (new.id, tg_op); return null; end $$;
create trigger counted after insert or update on profiles for each row execute function count_write()`

// While the database is away nothing is lost that was acknowledged, and sign-ups go on; when
// it is back, so is serve.
func TestDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	restart := func(t *testing.T, s *pgserver.Server) error { return s.Restart(t.Context()) }
	outages := []struct {
		name       string
		away, back func(*testing.T, *pgserver.Server) error
	}{
		{"stopped", func(_ *testing.T, s *pgserver.Server) error { return s.Stop() }, restart},
		{"crashed", func(_ *testing.T, s *pgserver.Server) error { return s.Kill() }, restart},
		{"read-only", demote, promote},
	}
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			server := pgtest.StartServer(t, pgserver.Options{Settings: map[string]string{"wal_level": "replica"}})
			db := fixture.At(t, server.URL("postgres"))
			db.Exec(countedTables)
			in := serveAt(t, carefulSource+shopTargets, db.Address)
			in.expect(created(t, "user_before"), accepted("applied"))

			must.Do(t, o.away(t, server))
			lost := created(t, "user_a")
			in.expect(lost, unavailable)
			in.expect(announced(t, "supabase", "m1"), accepted("admitted"))
			in.expect(announced(t, "careful", "m1"), unavailable)
			in.wantReadiness(http.StatusServiceUnavailable)

			must.Do(t, o.back(t, server))
			in.awaitReady(bound(2 * time.Second))
			in.expect(lost, accepted("applied"))
			in.expect(lost, accepted("duplicate"))
			in.records(announced(t, "careful", "m2"))
			fixture.At(t, db.Address).Want("select id, string_agg(operation, ' ') from writes group by id order by id",
				"user_a|INSERT", "user_before|INSERT")
		})
	}
}

// bound is a duration that is held on a quiet machine only.
func bound(d time.Duration) time.Duration {
	if testtag.Timing {
		return d
	}
	return 10 * d
}

func (in *instance) awaitReady(patience time.Duration) {
	in.t.Helper()
	began := time.Now()
	if !soon(patience, func() bool { return in.readiness() == 200 }) {
		in.t.Fatalf("not ready after %s", time.Since(began))
	}
	in.t.Logf("ready again after %s", time.Since(began))
}

// That the database is back is noticed though nobody asks.
func TestReadyAgain(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, pgserver.Options{})
	fixture.At(t, server.URL("postgres")).Exec(shopTables)
	in := serveAt(t, twoSources+shopTargets, server.URL("postgres"))
	must.Do(t, server.Stop())
	in.wantReadiness(http.StatusServiceUnavailable)
	must.Do(t, server.Restart(t.Context()))
	in.log.await(t, "ready again", 1)
}

// Without its schema nothing can be committed, though the database answers; given back, it
// goes on.
func TestReadyWithoutTheRoll(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string][2]string{
		"schema": {"alter schema rollcall rename to elsewhere", "alter schema elsewhere rename to rollcall"},
		"events": {"alter table rollcall.events rename to elsewhere", "alter table rollcall.elsewhere rename to events"},
		"insert": {"revoke insert on rollcall.users from current_user", "grant insert on rollcall.users to current_user"},
		"update": {"revoke update on rollcall.users from current_user", "grant update on rollcall.users to current_user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, role := serveAsRole(t)
			in.db.Exec(strings.ReplaceAll(sql[0], "current_user", role))
			lost := created(t, "user_a")
			in.expect(lost, unavailable)
			in.wantReadiness(http.StatusServiceUnavailable)
			in.db.Exec(strings.ReplaceAll(sql[1], "current_user", role))
			in.awaitReady(10 * time.Second)
			in.expect(lost, accepted("applied"))
		})
	}
}

// demote starts the server again as a standby of nobody, which can be read.
func demote(t *testing.T, s *pgserver.Server) error {
	if err := os.WriteFile(filepath.Join(s.Dir(), "data", "standby.signal"), nil, 0o666); err != nil {
		return err
	}
	return s.Restart(t.Context())
}

func promote(t *testing.T, s *pgserver.Server) error {
	fixture.At(t, s.URL("postgres")).Exec("select pg_promote()")
	return nil
}

// A server that restarts under load costs nobody more than a repetition.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	const senders, users = 8, 60 // some are still to be sent when the server goes for the second time
	server := pgtest.StartServer(t, pgserver.Options{})
	url := server.URL("postgres")
	fixture.At(t, url).Exec(countedTables)
	in := serveAt(t, twoSources+shopTargets, url)
	var working sync.WaitGroup
	var refused atomic.Int64
	for sender := range senders {
		working.Go(func() {
			for n := range users {
				r := created(t, fmt.Sprintf("user_%d_%d", sender, n))
				for a := ask(t, in.public, r); a.status != 204; a = ask(t, in.public, r) {
					if a != unavailable {
						t.Errorf("got %v, want 204 or %v", a, unavailable)
						return
					}
					refused.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	for _, end := range []func() error{server.Stop, server.Kill} {
		time.Sleep(100 * time.Millisecond)
		before := refused.Load()
		if err := end(); err != nil {
			t.Error(err)
		}
		soon(10*time.Second, func() bool { return refused.Load() >= before+senders })
		if err := server.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		in.awaitReady(bound(2 * time.Second))
	}
	working.Wait()
	if n := refused.Load(); n < 2*senders {
		t.Errorf("only %d requests heard that the server was away", n)
	}
	writtenOnce(t, url, senders*users)
}

// writtenOnce wants n events, users and rows, each row written once.
func writtenOnce(t testing.TB, url string, n int) {
	t.Helper()
	fixture.At(t, url).Want(`select (select count(*) from rollcall.events), (select count(*) from rollcall.users),
		(select count(*) from profiles), (select count(*) from writes)`, fmt.Sprintf("%[1]d|%[1]d|%[1]d|%[1]d", n))
}

// Whether a connection is cut before the server has the commit, or before its answer: the
// batch is sent again, and counts once.
func TestConnectionCutAtCommit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		fault         fault
		times         int
		first, second heard
	}{
		{"once before", cutBefore, 1, accepted("applied"), accepted("duplicate")},
		{"once after", cutAfter, 1, accepted("duplicate"), accepted("duplicate")},
		{"always before", cutBefore, 3, unavailable, accepted("applied")},
		{"always after", cutAfter, 3, unavailable, accepted("duplicate")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.NewWith(t, countedTables)
			cable, throughIt := startWire(t, url)
			in := serveAt(t, carefulSource+shopTargets, throughIt)
			r := created(t, "user_a", ann)
			cable.harm(tt.fault, tt.times)
			in.expect(r, tt.first)
			if left := cable.left(); left != 0 {
				t.Errorf("%d of %d commits were spared", left, tt.times)
			}
			in.expect(r, tt.second)
			writtenOnce(t, url, 1)
		})
	}
}

// A sign-up whose note can't be committed goes on, unless it is to be refused.
func TestAnnouncementCutAtCommit(t *testing.T) {
	t.Parallel()
	cable, url := startWire(t, pgtest.NewWith(t, shopTables))
	in := serveAt(t, carefulSource+shopTargets, url)
	cable.harm(cutBefore, 6)
	in.expect(announced(t, "supabase", "m1"), accepted("admitted"))
	in.expect(announced(t, "careful", "m1"), unavailable)
	in.records(announced(t, "careful", "m1"))
}

// Readiness follows the commits: what the database refuses to every webhook makes serve not ready,
// and it is ready again soon after the repair, without traffic.
func TestReadyFollowsTheCommits(t *testing.T) {
	t.Parallel()
	faults := []struct{ name, fault, repair, says string }{
		{
			"a renamed column", "alter table rollcall.users rename column full_name to whole_name",
			"alter table rollcall.users rename column whole_name to full_name", "schema rollcall",
		},
		{
			"a full disk",
			`create function fill() returns trigger language plpgsql as $$ begin raise sqlstate '53100'; end $$;
create trigger fill before insert on rollcall.users for each row execute function fill()`,
			"drop trigger fill on rollcall.users", "53100",
		},
		{
			"a full disk below the events",
			`create function fill() returns trigger language plpgsql as $$ begin raise sqlstate '53100'; end $$;
create trigger fill before insert on rollcall.events for each row execute function fill()`,
			"drop trigger fill on rollcall.events", "53100",
		},
		{
			"a table that is gone", "alter table rollcall.events rename to happenings",
			"alter table rollcall.happenings rename to events", "schema rollcall",
		},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			in := startShop(t)
			in.expect(created(t, "user_a"), accepted("applied"))
			in.wantReadiness(http.StatusOK)
			in.db.Exec(f.fault)
			in.expect(created(t, "user_b"), unavailable)
			for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
				in.wantReadiness(http.StatusServiceUnavailable)
			}
			if said := fmt.Sprint(in.log.await(t, "not ready", 1)["error"]); !strings.Contains(said, f.says) {
				t.Errorf("the log says %q, want %q in it", said, f.says)
			}
			in.db.Exec(f.repair)
			in.awaitReady(5 * time.Second)
			in.log.await(t, "ready again", 1)
			in.expect(created(t, "user_b"), accepted("applied"))
			in.db.Want("select (select count(*) from rollcall.users), (select count(*) from rollcall.events)", "2|2")
		})
	}
}

// An idle serve notices by itself that nothing can be committed.
func TestReadyWhileIdle(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.db.Exec("alter table rollcall.users rename column email to mail")
	if !soon(15*time.Second, func() bool { return in.readiness() == http.StatusServiceUnavailable }) {
		t.Fatal("ready although nothing can be committed")
	}
}

// A target that is slow, gone or full leaves serve ready.
func TestReadyBesideABadTarget(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	for _, fault := range []string{
		`create function fill() returns trigger language plpgsql as $$ begin raise sqlstate '53100'; end $$;
create trigger fill before insert on public.profiles for each row execute function fill()`,
		"alter table public.profiles rename to elsewhere",
	} {
		in.db.Exec(fault)
		in.send(created(t, "user_a"))
		if status, body := get(t, in.public+"/readyz", ""); status != http.StatusOK {
			t.Errorf("readyz beside a bad target: %d %s", status, body)
		}
	}
	in.db.Exec("alter table public.elsewhere rename to profiles; drop trigger fill on public.profiles")
	in.db.Exec("begin; lock table public.profiles")
	var waiting sync.WaitGroup
	waiting.Go(func() { in.send(created(t, "user_b")) })
	defer waiting.Wait()
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if status, body := get(t, in.public+"/readyz", ""); status != http.StatusOK {
			t.Fatalf("readyz beside a locked target: %d %s", status, body)
		}
	}
}
