package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

// runLoadCommand runs load against an instance and returns its exit code and what it said.
func runLoadCommand(ctx context.Context, t testing.TB, in *instance, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	file := configFile(t, twoSources+shopTargets)
	var out, problems bytes.Buffer
	args = append([]string{"load", "-c", file, "--url", in.public}, args...)
	code = run(ctx, environment{args, env("postgres:///nowhere"), strings.NewReader(""), &out, &problems})
	return code, out.String(), problems.String()
}

// What load counts is what the tables hold, at both providers.
func TestLoad(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	for _, provider := range []string{"clerk", "supabase"} {
		code, stdout, stderr := runLoadCommand(t.Context(), t, in, provider, "--duration", "1s", "--connections", "8", "--output", "json")
		var r loadReport
		if err := json.Unmarshal([]byte(stdout), &r); code != exitFine || err != nil {
			t.Fatalf("exit code %d, error %v\n%s%s", code, err, stdout, stderr)
		}
		if r.Requests < 20 || r.Accepted != r.Requests || r.Outcomes["applied"] < r.Requests/2 || r.Throughput <= 0 || r.GeneratorCores <= 0 {
			t.Errorf("%+v", r)
		}
		if l := r.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max || l.Max > r.ElapsedSeconds || r.DurationSeconds != 1 {
			t.Errorf("latency %+v in %v s", l, r.ElapsedSeconds)
		}
		rows := must.Get(conn.Query(t.Context(), "select outcome, count(*) from rollcall.events where source = $1 and user_id like $2 group by outcome", provider, r.IDs))(t)
		for rows.Next() {
			var outcome string
			var n int64
			must.Do(t, rows.Scan(&outcome, &n))
			if r.Outcomes[outcome] != n {
				t.Errorf("%s: %d are %s in rollcall.events, and %d were answered so", provider, n, outcome, r.Outcomes[outcome])
			}
			delete(r.Outcomes, outcome)
		}
		if err := rows.Err(); err != nil || len(r.Outcomes) > 0 {
			t.Errorf("%s: %v are in no row, error %v", provider, r.Outcomes, err)
		}
		var users, gone, profiles int64
		if err := conn.QueryRow(t.Context(), `select count(*), count(deleted_at), (select count(*) from profiles where id like $2)
			from rollcall.users where source = $1 and id like $2`, provider, r.IDs).Scan(&users, &gone, &profiles); err != nil {
			t.Fatal(err)
		}
		if users != r.Events["created"] || gone != r.Events["deleted"] || profiles != users-gone {
			t.Errorf("%s: %d users, %d of them deleted, %d rows; sent %v", provider, users, gone, profiles, r.Events)
		}
	}
}

// The report for people says the same; with a rate and a limit of users.
func TestLoadReport(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	code, stdout, stderr := runLoadCommand(t.Context(), t, in, "clerk", "--rate", "50", "--duration", "2s", "--users", "10", "--mix", "created=1")
	if code != exitFine || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, line := range []string{
		"clerk at " + in.public + ": 64 connections, 50/s, created=1,updated=0,deleted=0, 10 users at most, for 2s",
		"accepted     100 in ", "latency      p50 ", "events       updated 90  created 10", "errors       none", "id like 'user_load_",
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("not said: %s\n%s", line, stdout)
		}
	}
	const left = "select (select count(*) from profiles), (select count(*) from rollcall.users), (select count(*) from rollcall.events)"
	for _, want := range []string{"{10 10 100}", "{1 1 1}"} {
		var users struct{ profiles, roll, events int }
		if err := conn.QueryRow(t.Context(), left).Scan(&users.profiles, &users.roll, &users.events); err != nil || fmt.Sprint(users) != want {
			t.Errorf("profiles, roll and events: %v, want %s, error %v", users, want, err)
		}
		// What removes them leaves others alone.
		in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_load_of_paper")))
		_, statements, _ := strings.Cut(stdout, "\nto remove    ")
		if _, err := conn.Exec(t.Context(), statements); err != nil {
			t.Fatalf("%v\n%s", err, statements)
		}
	}
}

// While the database is away everything is refused, and an interrupted run says so, too.
func TestLoadRefused(t *testing.T) {
	t.Parallel()
	in := startServe(t, strings.Replace(twoSources, "wait: 3s", "wait: 100ms", 1), env("postgres://127.0.0.1:1/nowhere"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	code, stdout, stderr := runLoadCommand(ctx, t, in, "clerk", "--rate", "10", "--duration", "1m", "-o", "json")
	var r loadReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if code != exitProblems || !strings.Contains(stderr, "requests were not accepted") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if !r.Interrupted || r.Outcomes["unavailable"] == 0 || r.Refused != r.Requests || r.Throughput != 0 {
		t.Errorf("%+v", r)
	}
}

// Nothing was accepted, so nothing took 0.0 ms.
func TestLoadWithoutLatency(t *testing.T) {
	t.Parallel()
	in := startServe(t, strings.Replace(twoSources, "wait: 3s", "wait: 100ms", 1), env("postgres://127.0.0.1:1/nowhere"))
	_, stdout, stderr := runLoadCommand(t.Context(), t, in, "clerk", "--rate", "10", "--duration", "200ms")
	if !strings.Contains(stdout, "latency      none\n") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

func TestLoadMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"clerk --url http://192.0.2.1:8080", exitUsage, "--yes-really"},
		{"clerk --url http://0.0.0.0:8080", exitUsage, "--yes-really"},
		{"clerk --url http://127.0.0.1:1", exitProblems, "nobody listens at http://127.0.0.1:1"},
		{"clerk --url http://127.0.0.1:1/webhooks/clerk", exitUsage, "base URL only"},
		{"clerk --url http://ada:made-up-password@127.0.0.1:1", exitUsage, "no user name and no password"},
		{"clerk --url http://ada:made-up-password@127.0.0.1:x", exitUsage, "invalid port"},
		{"clerk", exitProblems, "listen is 127.0.0.1:0"},
		{"google", exitUsage, `there is no source "google"`},
		{"", exitUsage, "name the source"},
		{"clerk --connections 0", exitUsage, "at least 1"},
		{"clerk --rate -1", exitUsage, "--rate -1"},
		{"clerk --rate 1e300", exitUsage, "--rate 1e+300"},
		{"clerk --duration 0s", exitUsage, "--duration 0s"},
		{"clerk --users -1", exitUsage, "--users -1"},
		{"clerk --mix created", exitUsage, "kind=weight"},
		{"clerk --output xml", exitUsage, "text or json"},
	} {
		var problems bytes.Buffer
		args := append([]string{"load", "-c", configFile(t, twoSources)}, strings.Fields(tt.args)...)
		code := run(t.Context(), environment{args, env("postgres:///nowhere"), strings.NewReader(""), io.Discard, &problems})
		if code != tt.code || !strings.Contains(problems.String(), tt.says) {
			t.Errorf("load %s: exit code %d, %s", tt.args, code, problems.String())
		}
		if strings.Contains(problems.String(), "made-up-password") {
			t.Errorf("load %s repeats a password: %s", tt.args, problems.String())
		}
	}
}

// The endpoints that a mix needs must be open.
func TestLoadClosedEndpoint(t *testing.T) {
	t.Parallel()
	yaml, _, _ := strings.Cut(twoSources, "    database_webhook")
	in := startServe(t, yaml, env(pgtest.New(t)))
	in.log.await(t, "ready", 1)
	for mix, want := range map[string]int{"created=2,updated=1": exitProblems, "created=100": exitFine} {
		var out, problems bytes.Buffer
		args := []string{"load", "supabase", "-c", configFile(t, yaml), "--url", in.public, "--duration", "200ms", "--connections", "2", "--mix", mix}
		if code := run(t.Context(), environment{args, env("postgres:///nowhere"), strings.NewReader(""), &out, &problems}); code != want {
			t.Errorf("%s: exit code %d\n%s%s", mix, code, out.String(), problems.String())
		}
		for _, says := range []string{"rollcall.yaml:11:3: the database endpoint of source supabase is closed", `database_webhook: {secrets: ["${DATABASE_WEBHOOK_SECRET}"]}`, "write --mix created=100"} {
			if want == exitProblems && !strings.Contains(problems.String(), says) {
				t.Errorf("it doesn't say %s:\n%s", says, problems.String())
			}
		}
	}
}
