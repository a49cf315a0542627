package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/source"
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

// heard is what a sender hears; its status is 0 when it hears nothing.
type heard struct {
	status  int
	outcome string
	retry   bool // with Retry-After
}

func (h heard) String() string { return fmt.Sprint(h.status, " ", h.outcome, " ", h.retry) }

// ask sends a webhook to a base URL as its provider would.
func ask(t testing.TB, base string, r *http.Request) heard {
	t.Helper()
	body := must.Get(r.GetBody())(t)
	again := must.Get(http.NewRequestWithContext(r.Context(), r.Method, base+r.URL.Path, body))(t)
	again.Header = r.Header
	response, err := http.DefaultClient.Do(again)
	if err != nil {
		return heard{}
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return heard{response.StatusCode, response.Header.Get("Rollcall-Outcome"), response.Header.Get("Retry-After") != ""}
}

// announced is a sign-up that asks whether it may go on.
func announced(t testing.TB, to, id string) *http.Request {
	t.Helper()
	r := signed(t, source.Supabase, source.Hook, fmt.Sprintf(`{"metadata":{"uuid":%q,"name":"before-user-created"},"user":{"id":"s_1"}}`, id))
	r.URL.Path = "/webhooks/" + to
	return r
}

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
			execute(t, server.URL("postgres"), countedTables)
			in := startServe(t, carefulSource+shopTargets, env(server.URL("postgres")))
			in.log.await(t, "ready", 1)
			expect(t, in, signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_before")), heard{204, "applied", false})

			must.Do(t, o.away(t, server))
			lost := signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a"))
			expect(t, in, lost, heard{503, "unavailable", true})
			expect(t, in, announced(t, "supabase", "m1"), heard{204, "admitted", false})
			expect(t, in, announced(t, "careful", "m1"), heard{503, "unavailable", true})
			if status, _ := get(t, in.public+"/readyz", ""); status != 503 {
				t.Errorf("readyz while the database is away: %d", status)
			}

			must.Do(t, o.back(t, server))
			awaitReady(t, in.public, soonReady())
			expect(t, in, lost, heard{204, "applied", false})
			expect(t, in, lost, heard{204, "duplicate", false})
			expect(t, in, announced(t, "careful", "m2"), heard{204, "announced", false})
			same(t, "writes", map[string]string{"user_before": "INSERT", "user_a": "INSERT"},
				pairs(t, connect(t, server.URL("postgres")), "select id, string_agg(operation, ' ') from writes group by id"))
		})
	}
}

func expect(t testing.TB, in *instance, r *http.Request, want heard) {
	t.Helper()
	if got := ask(t, in.public, r); got != want {
		t.Errorf("%s: got %v, want %v", r.URL.Path, got, want)
	}
}

func execute(t testing.TB, url, sql string) {
	t.Helper()
	must.Get(connect(t, url).Exec(t.Context(), sql))(t)
}

// soonReady is how long serve may take to notice that its database is back.
func soonReady() time.Duration {
	if testtag.Timing {
		return 2 * time.Second
	}
	return 20 * time.Second
}

func awaitReady(t testing.TB, base string, patience time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		status, _ := get(t, base+"/readyz", "")
		switch took := time.Since(began); {
		case status == 200:
			t.Logf("ready again after %s", took)
			return
		case took > patience:
			t.Fatalf("not ready after %s", took)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// That the database is back is noticed though nobody asks.
func TestReadyAgain(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, pgserver.Options{})
	execute(t, server.URL("postgres"), shopTables)
	in := startServe(t, twoSources+shopTargets, env(server.URL("postgres")))
	in.log.await(t, "ready", 1)
	must.Do(t, server.Stop())
	if status, _ := get(t, in.public+"/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("readyz without a database: %d", status)
	}
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
			database := pgtest.NewWith(t, pairTables)
			asService, _ := asRole(t, connect(t, database), database)
			in := startServe(t, twoSources+pairTargets, env(asService))
			in.log.await(t, "ready", 1)
			execute(t, asService, sql[0])
			lost := signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a"))
			expect(t, in, lost, heard{503, "unavailable", true})
			if status, _ := get(t, in.public+"/readyz", ""); status != http.StatusServiceUnavailable {
				t.Errorf("readyz: %d", status)
			}
			execute(t, asService, sql[1])
			awaitReady(t, in.public, 10*time.Second)
			expect(t, in, lost, heard{204, "applied", false})
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
	_, err := connect(t, s.URL("postgres")).Exec(t.Context(), "select pg_promote()")
	return err
}

// A server that restarts under load costs nobody more than a repetition.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	const senders, users = 8, 60 // some are still to be sent when the server goes for the second time
	server := pgtest.StartServer(t, pgserver.Options{})
	url := server.URL("postgres")
	execute(t, url, countedTables)
	in := startServe(t, twoSources+shopTargets, env(url))
	in.log.await(t, "ready", 1)
	var working sync.WaitGroup
	var refused atomic.Int64
	for sender := range senders {
		working.Go(func() {
			for n := range users {
				r := signed(t, source.Clerk, source.Hook, clerkUser("user.created", fmt.Sprintf("user_%d_%d", sender, n)))
				for a := ask(t, in.public, r); a.status != 204; a = ask(t, in.public, r) {
					if want := (heard{503, "unavailable", true}); a != want {
						t.Errorf("got %v, want 204 or %v", a, want)
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
		for deadline := time.Now().Add(10 * time.Second); refused.Load() < before+senders && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Error(err)
		}
		awaitReady(t, in.public, soonReady())
	}
	working.Wait()
	if n := refused.Load(); n < 2*senders {
		t.Errorf("only %d requests heard that the server was away", n)
	}
	counts(t, connect(t, url), senders*users)
}

// counts: n events, users and rows, each row written once.
func counts(t testing.TB, conn *pgx.Conn, n int) {
	t.Helper()
	var events, roll, rows, writes int
	err := conn.QueryRow(t.Context(), `select (select count(*) from rollcall.events), (select count(*) from rollcall.users),
		(select count(*) from profiles), (select count(*) from writes)`).Scan(&events, &roll, &rows, &writes)
	if err != nil || events != n || roll != n || rows != n || writes != n {
		t.Errorf("%d events, %d users, %d rows, %d writes, error %v; want %d of each", events, roll, rows, writes, err, n)
	}
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
		{"once before", cutBefore, 1, heard{204, "applied", false}, heard{204, "duplicate", false}},
		{"once after", cutAfter, 1, heard{204, "duplicate", false}, heard{204, "duplicate", false}},
		{"always before", cutBefore, 3, heard{503, "unavailable", true}, heard{204, "applied", false}},
		{"always after", cutAfter, 3, heard{503, "unavailable", true}, heard{204, "duplicate", false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.NewWith(t, countedTables)
			cable, throughIt := startWire(t, url)
			in := startServe(t, carefulSource+shopTargets, env(throughIt))
			in.log.await(t, "ready", 1)
			r := signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a", ann))
			cable.harm(tt.fault, tt.times)
			expect(t, in, r, tt.first)
			if left := cable.left(); left != 0 {
				t.Errorf("%d of %d commits were spared", left, tt.times)
			}
			expect(t, in, r, tt.second)
			counts(t, connect(t, url), 1)
		})
	}
}

// A sign-up whose note can't be committed goes on, unless it is to be refused.
func TestAnnouncementCutAtCommit(t *testing.T) {
	t.Parallel()
	cable, url := startWire(t, pgtest.NewWith(t, shopTables))
	in := startServe(t, carefulSource+shopTargets, env(url))
	in.log.await(t, "ready", 1)
	cable.harm(cutBefore, 6)
	expect(t, in, announced(t, "supabase", "m1"), heard{204, "admitted", false})
	expect(t, in, announced(t, "careful", "m1"), heard{503, "unavailable", true})
	expect(t, in, announced(t, "careful", "m1"), heard{204, "announced", false})
}
