package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// The page for operators lists the metrics that a serve has, all of them and no others.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	l := openLobby(t, "notify: {n: {on: [appeared], channel: c}}\n")
	exposed := l.metrics() + serveAt(t, admitting("deny_domains: [evil.example]"), pgtest.New(t)).metrics()
	page := must.Get(os.ReadFile("../../docs/metrics.md"))(t)
	_, table, _ := strings.Cut(string(page), "\n## Metrics\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if diff := cmp.Diff(names(`(?m)^# TYPE (rollcall_\w+)`, exposed), names("(?m)^\\| `(rollcall_\\w+)", table)); diff != "" {
		t.Errorf("docs/metrics.md (-exposed +documented):\n%s", diff)
	}
}

// metrics are those after the first count of the users.
func (in *instance) metrics() (text string) {
	in.t.Helper()
	must.Await(in.t, "a count of the users", func() bool {
		_, text = get(in.t, in.admin+"/metrics", "")
		return strings.Contains(text, "rollcall_users{")
	})
	return text
}

// names are the first groups of all matches, sorted, each once.
func names(pattern, text string) []string {
	var list []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		list = append(list, match[1])
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func TestHealthMetricsAdmin(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.send(created(t, "user_a"))
	tests := []struct {
		url, token string
		status     int
		body       string
	}{
		{in.public + "/healthz", "", 200, "alive"},
		{in.public + "/readyz", "", 200, "ready"},
		{in.admin + "/readyz", "", 200, "ready"},
		{in.public + "/metrics", "", 404, "not_found"},
		{in.public + "/admin/v1/status", adminToken, 404, "not_found"},
		{in.admin + "/admin/v1/status", "", 401, "Unauthorized"},
		{in.admin + "/admin/v1/status", "wrong", 401, "Unauthorized"},
		{in.admin + "/admin/v1/status", adminToken, 200, `"targets":[{"name":"profiles","table":"public.profiles","state":"ok","parked":0}]`},
		{in.admin + "/metrics", "", 200, `go_goroutines`},
	}
	for _, tt := range tests {
		status, body := get(t, tt.url, tt.token)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s: got %d, want %d and %s; body %.400s", tt.url, status, tt.status, tt.body, body)
		}
	}
	in.counts(
		`rollcall_webhooks_total{outcome="applied",source="clerk",type="user.created"} 1`,
		`rollcall_webhooks_total{outcome="admitted",source="supabase",type="before-user-created"} 0`,
		`rollcall_webhook_seconds_count{source="clerk"} 1`, `rollcall_batch_events_count 1`, `rollcall_apply_seconds_count 1`,
		`rollcall_parked_users{target="profiles"} 0`, `rollcall_target_breaker_open{target="profiles"} 0`,
		`rollcall_target_users{state="present",target="profiles"} 0`,
		`rollcall_target_checked_timestamp_seconds{target="profiles"} 0`,
		`rollcall_last_verified_event_timestamp_seconds{source="supabase"} 0`,
		`rollcall_build_info{goversion="`+runtime.Version()+`",version="`+buildVersion()+`"} 1`,
		"rollcall_queue_events 0", "rollcall_queue_oldest_seconds 0",
		"rollcall_pool_max_connections 6",
		`rollcall_jobs{state="failed"} 0`,
	)
}

// The users are counted once at the start, and not at each scrape.
func TestUsersAreCounted(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, shopTables)
	c := newCLI(t, twoSources+shopTargets, url)
	if got := c.run(t.Context(), "migrate"); got.code != cli.ExitFine {
		t.Fatal(got)
	}
	fixture.At(t, url).Exec(`insert into rollcall.users (source, id, version, deleted_at)
		select 'clerk', 'user_' || n, 1, case when n > 4 then now() end from generate_series(1, 5) n`)
	in := serveAt(t, twoSources+shopTargets, url)
	const live = `rollcall_users{source="clerk",state="live"} 4`
	must.True(t, strings.Contains(in.metrics(), live), "%s is missing", live)
	in.send(created(t, "user_a"))
	in.counts(live, `rollcall_users{source="clerk",state="deleted"} 1`, `rollcall_users{source="clerk",state="parked"} 0`,
		`rollcall_users{source="supabase",state="live"} 0`)
}

// What a check has counted, by whatever process, is in the metrics of every replica.
func TestCheckSetsTheMetrics(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	for _, id := range []string{"user_a", "user_b", "user_c"} {
		in.send(created(t, id))
	}
	in.db.Exec("delete from profiles where id = 'user_a'; update profiles set email = 'x' where id = 'user_b'; insert into profiles values ('s', '', '', '')")
	if check := in.run(t.Context(), "check"); check.code != cli.ExitProblems {
		t.Errorf("check ended with %d, want %d", check.code, cli.ExitProblems)
	}
	in.counts(
		`rollcall_target_users{state="present",target="profiles"} 1`, `rollcall_target_users{state="missing",target="profiles"} 1`,
		`rollcall_target_users{state="different",target="profiles"} 1`, `rollcall_target_users{state="extra",target="profiles"} 1`,
		`rollcall_target_users{state="parked",target="profiles"} 0`,
	)
	_, body := get(t, in.admin+"/metrics", "")
	if !regexp.MustCompile(`rollcall_target_checked_timestamp_seconds\{target="profiles"\} \d\.\d+e\+09`).MatchString(body) {
		t.Error("the metrics don't say when the target was checked")
	}
}

// capturedSource is fed by its capture alone, openSource by its endpoint, too.
const capturedSource = oneMachine + `sources:
  captured: {provider: supabase}
`

const openSource = `  open: {provider: supabase, signing_secrets: ["${SUPABASE_SECRET}"]}
`

const captureNever = "nothing reports the changes of a source: no capture is installed, and it has neither signing_secrets nor a database_webhook; install the capture, or give it a secret"

// The metrics show the trigger and, of sources that have no open endpoint, no last event: an alert
// on its age would never end.
func TestCaptureMetrics(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth)
	in := startServe(t, capturedSource+openSource, env(url))
	in.log.await(t, captureNever, 1)
	for _, step := range []struct {
		command   string
		installed int
	}{{"install", 1}, {"remove", 0}} {
		if got := in.run(t.Context(), "capture", step.command, "captured"); got.code != cli.ExitFine {
			t.Fatalf("capture %s: %s", step.command, got)
		}
		in.counts(
			fmt.Sprintf("rollcall_capture_installed{source=%q} %d", "captured", step.installed),
			`rollcall_capture_installed{source="open"} 0`, `rollcall_capture_oldest_seconds{source="captured"} 0`,
			`rollcall_last_verified_event_timestamp_seconds{source="open"} 0`,
		)
		_, body := get(t, in.admin+"/metrics", "")
		if strings.Contains(body, `rollcall_last_verified_event_timestamp_seconds{source="captured"}`) {
			t.Error("there is a last event of a source without an endpoint")
		}
	}
}
