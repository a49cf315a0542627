package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/cli"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

// load runs load against an instance, without a database of its own.
func (in *instance) load(ctx context.Context, args ...string) ran {
	return commandLine{in.file, env(nowhere)}.run(ctx, append([]string{"load", "--url", in.public}, args...)...)
}

// loadReport is what a program reads of --output json.
type loadReport struct {
	IDs             string                          `json:"ids"`
	DurationSeconds float64                         `json:"duration_seconds"`
	Interrupted     bool                            `json:"interrupted"`
	ElapsedSeconds  float64                         `json:"elapsed_seconds"`
	Requests        int64                           `json:"requests"`
	Accepted        int64                           `json:"accepted"`
	Refused         int64                           `json:"refused"`
	Throughput      float64                         `json:"throughput"`
	Latency         struct{ P50, P99, Max float64 } `json:"latency_seconds"`
	Outcomes        map[string]int64                `json:"outcomes"`
	Events          map[string]int64                `json:"events"`
	GeneratorCores  float64                         `json:"generator_cores"`
}

// What load counts is what the tables hold, at both providers.
func TestLoad(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	for _, provider := range []string{"clerk", "supabase"} {
		got := in.load(t.Context(), provider, "--duration", "3s", "--connections", "8", "--output", "json")
		var r loadReport
		if err := json.Unmarshal([]byte(got.out), &r); got.code != cli.ExitFine || err != nil {
			t.Fatalf("error %v\n%s", err, got)
		}
		if r.Requests < 20 || r.Accepted != r.Requests || r.Outcomes["applied"] < r.Requests/2 || r.Throughput <= 0 || r.GeneratorCores <= 0 {
			t.Errorf("%+v", r)
		}
		if l := r.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max || l.Max > r.ElapsedSeconds || r.DurationSeconds != 3 {
			t.Errorf("latency %+v in %v s", l, r.ElapsedSeconds)
		}
		var outcomes []string
		for outcome, n := range r.Outcomes {
			outcomes = append(outcomes, fmt.Sprintf("%s|%d", outcome, n))
		}
		slices.Sort(outcomes)
		of := fmt.Sprintf(" where source = '%s' and user_id like '%s' ", provider, r.IDs)
		in.db.Want("select outcome, count(*) from rollcall.events"+of+"group by 1 order by 1", outcomes...)
		users, gone := r.Events["created"], r.Events["deleted"]
		in.db.Want(fmt.Sprintf(`select count(*), count(deleted_at), (select count(*) from profiles where id like '%[2]s')
			from rollcall.users where source = '%[1]s' and id like '%[2]s'`, provider, r.IDs),
			fmt.Sprintf("%d|%d|%d", users, gone, users-gone))
	}
}

// The report for people says the same; with a rate and a limit of users.
func TestLoadReport(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	got := in.load(t.Context(), "clerk", "--rate", "50", "--duration", "2s", "--users", "10", "--mix", "created=1")
	if got.code != cli.ExitFine || got.log != "" {
		t.Fatal(got)
	}
	for _, line := range []string{
		"clerk at " + in.public + ": 64 connections, 50/s, created=1,updated=0,deleted=0, 10 users at most, for 2s",
		"accepted     100 in ", "latency      p50 ", "events       updated 90  created 10", "errors       none", "id like 'user_load_",
	} {
		if !strings.Contains(got.out, line) {
			t.Errorf("not said: %s\n%s", line, got.out)
		}
	}
	_, statements, _ := strings.Cut(got.out, "\nto remove    ")
	for _, want := range []string{"10|10|100", "1|1|1"} {
		in.db.Want(`select (select count(*) from profiles), (select count(*) from rollcall.users),
			(select count(*) from rollcall.events)`, want)
		// What removes them leaves others alone.
		in.send(created(t, "user_load_of_paper"))
		in.db.Exec(statements)
	}
}

// While the database is away everything is refused, and an interrupted run says so, too.
func TestLoadRefused(t *testing.T) {
	t.Parallel()
	in := startServe(t, strings.Replace(twoSources, "wait: 3s", "wait: 100ms", 1), env(nowhere))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	got := in.load(ctx, "clerk", "--rate", "10", "--duration", "1m", "-o", "json")
	var r loadReport
	if err := json.Unmarshal([]byte(got.out), &r); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if got.code != cli.ExitProblems || !strings.Contains(got.log, "requests were not accepted") {
		t.Error(got)
	}
	if got := in.load(t.Context(), "clerk", "--rate", "10", "--duration", "200ms"); !strings.Contains(got.out, "latency      none\n") {
		t.Errorf("nothing was accepted, so nothing took 0.0 ms: %s", got)
	}
	if !r.Interrupted || r.Outcomes["unavailable"] == 0 || r.Refused != r.Requests || r.Throughput != 0 {
		t.Errorf("%+v", r)
	}
}

func TestLoadMistakes(t *testing.T) {
	t.Parallel()
	c := newCLI(t, twoSources, nowhere)
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"clerk --url http://192.0.2.1:8080", cli.ExitUsage, "--yes-really"},
		{"clerk --url http://0.0.0.0:8080", cli.ExitUsage, "--yes-really"},
		{"clerk --url http://127.0.0.1:1", cli.ExitProblems, "no program listens at http://127.0.0.1:1"},
		{"clerk --url http://127.0.0.1:1/webhooks/clerk", cli.ExitUsage, "base URL only"},
		{"clerk --url http://ada:made-up-password@127.0.0.1:1", cli.ExitUsage, "no user name and no password"},
		{"clerk --url http://ada:made-up-password@127.0.0.1:x", cli.ExitUsage, "invalid port"},
		{"clerk", cli.ExitProblems, "listen is 127.0.0.1:0"},
		{"google", cli.ExitUsage, `there is no source "google"`},
		{"", cli.ExitUsage, "name the source"},
		{"clerk --connections 0", cli.ExitUsage, "at least 1"},
		{"clerk --rate -1", cli.ExitUsage, "--rate -1"},
		{"clerk --rate 1e300", cli.ExitUsage, "--rate 1e+300"},
		{"clerk --duration 0s", cli.ExitUsage, "--duration 0s"},
		{"clerk --users -1", cli.ExitUsage, "--users -1"},
		{"clerk --mix created", cli.ExitUsage, "kind=weight"},
		{"clerk --output xml", cli.ExitUsage, "text or json"},
	} {
		got := c.run(t.Context(), append([]string{"load"}, strings.Fields(tt.args)...)...)
		if got.code != tt.code || !strings.Contains(got.log, tt.says) {
			t.Errorf("load %s: %s", tt.args, got)
		}
		if strings.Contains(got.log, "made-up-password") {
			t.Errorf("load %s repeats a password: %s", tt.args, got.log)
		}
	}
}

// The endpoints that a mix needs must be open.
func TestLoadClosedEndpoint(t *testing.T) {
	t.Parallel()
	yaml, _, _ := strings.Cut(twoSources, "    database_webhook")
	in := serveAt(t, yaml, pgtest.New(t))
	for mix, want := range map[string]int{"created=2,updated=1": cli.ExitProblems, "created=100": cli.ExitFine} {
		got := in.load(t.Context(), "supabase", "--duration", "200ms", "--connections", "2", "--mix", mix)
		if got.code != want {
			t.Errorf("%s: %s", mix, got)
		}
		for _, says := range []string{"rollcall.yaml:11:3: the database endpoint of source supabase is closed", `database_webhook: {secrets: ["${DATABASE_WEBHOOK_SECRET}"]}`, "write --mix created=100"} {
			if want == cli.ExitProblems && !strings.Contains(got.log, says) {
				t.Errorf("it doesn't say %s:\n%s", says, got.log)
			}
		}
	}
}

// What removes the users of a run removes the teams, too, and no others.
func TestLoadTeamsRemoved(t *testing.T) {
	t.Parallel()
	in := serveAt(t, twoSources+shopTargets+`
  teams: {roll: organizations, table: public.teams, from: [clerk], key: id, set: {id: new.id, name: new.name}, on_delete: keep}
  members: {roll: memberships, table: public.members, from: [clerk], key: [team_id, user_id],
    set: {team_id: new.organization_id, user_id: new.user_id}, on_delete: keep}
`, pgtest.NewWith(t, shopTables, "create table teams (id text primary key, name text); create table members (team_id text references teams, user_id text, primary key (team_id, user_id))"))
	body := must.Get(os.ReadFile("../../internal/source/testdata/clerk/organizationMembership.deleted.json"))(t)
	in.send(signed(t, source.Clerk, source.Hook, strings.ReplaceAll(string(body), "organizationMembership.deleted", "organizationMembership.created")))
	got := in.load(t.Context(), "clerk", "--rate", "50", "--duration", "2s", "--users", "10", "--mix", "created=1,joined=5,left=1")
	if got.code != cli.ExitFine {
		t.Fatal(got)
	}
	const rows = `select (select count(*) from teams), (select count(*) from members), (select count(*) from rollcall.organizations),
		(select count(*) from rollcall.memberships), (select count(*) from rollcall.events), (select count(*) from rollcall.parked)`
	if slices.Equal(in.db.Rows(rows), []string{"1|1|1|1|1|0"}) {
		t.Error("the run made no teams")
	}
	_, statements, _ := strings.Cut(got.out, "\nto remove    ")
	in.db.Exec(statements)
	in.db.Want(rows, "1|1|1|1|1|0")
}
