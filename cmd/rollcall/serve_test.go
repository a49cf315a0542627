package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

func TestServe(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	steps := []struct {
		request func(*testing.T) *http.Request
		status  int
		outcome string
	}{
		{verified(source.Clerk, source.Hook, clerkUser("user.created", "user_a", ann)), 204, "applied"},
		{verified(source.Clerk, source.Hook, clerkUser("user.updated", "user_a", `"updated_at":1`)), 204, "stale"},
		{verified(source.Supabase, source.Hook, `{"metadata":{"uuid":"m1","name":"before-user-created"},"user":{"id":"s_1","email":"s@example.com"}}`), 204, "announced"},
		{verified(source.Supabase, source.Hook, `{"metadata":{"uuid":"m2","name":"after-user-created"},"user":{"id":"s_1","email":"s@example.com","updated_at":"2026-01-02T03:04:05Z"}}`), 204, "applied"},
		{verified(source.Supabase, source.Hook, `{"metadata":{"uuid":"m2","name":"after-user-created"},"user":{"id":"s_1","email":"s@example.com","updated_at":"2026-01-02T03:04:05Z"}}`), 204, "duplicate"},
		{verified(source.Supabase, source.Database, `{"type":"UPDATE","schema":"auth","table":"users","record":{"id":"s_1","email":"new@example.com","encrypted_password":"hunter2","updated_at":"2026-01-02T03:04:06+00:00"},"old_record":{"id":"s_1"}}`), 204, "applied"},
		{verified(source.Supabase, source.Hook, `{"metadata":{"uuid":"m3","name":"customize-access-token"},"user_id":"s_1","claims":{"sub":"s_1","x": 1}}`), 200, "ignored"},
		{verified(source.Clerk, source.Hook, clerkUser("user.deleted", "user_a", `"deleted":true`)), 204, "applied"},
		{verified(source.Clerk, source.Hook, clerkUser("user.updated", "user_a", `"updated_at":1990000000000`)), 204, "stale"},
	}
	for i, step := range steps {
		status, outcome, body := in.send(step.request(t))
		if status != step.status || outcome != step.outcome {
			t.Errorf("step %d: got %d %s %s, want %d %s", i, status, outcome, body, step.status, step.outcome)
		}
		if status == http.StatusOK && body != `{"claims":{"sub":"s_1","x": 1}}` {
			t.Errorf("step %d: body %s", i, body)
		}
	}
	var rows string
	err := conn.QueryRow(t.Context(), "select string_agg(concat_ws('|', id, email, name, role), ' ') from profiles").Scan(&rows)
	if err != nil || rows != "s_1|new@example.com||customer" {
		t.Errorf("profiles %q, error %v", rows, err)
	}
	var secrets int
	err = conn.QueryRow(t.Context(), `select count(*) from rollcall.events where convert_from(body, 'UTF8') ~ 'hunter2|encrypted_password|private_metadata'`).Scan(&secrets)
	if err != nil || secrets != 0 {
		t.Errorf("%d stored bodies hold secrets, error %v", secrets, err)
	}
	if code := in.stop(); code != exitFine {
		t.Errorf("exit code %d", code)
	}
}

func TestHealthMetricsAdmin(t *testing.T) {
	t.Parallel()
	in, _ := startShop(t)
	in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a")))
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
		{in.admin + "/admin/v1/status", "", 401, "unauthorized"},
		{in.admin + "/admin/v1/status", "wrong", 401, "unauthorized"},
		{in.admin + "/admin/v1/status", adminToken, 200, `"targets":[{"name":"profiles","table":"public.profiles","state":"ok","parked":0}]`},
		{in.admin + "/metrics", "", 200, `rollcall_webhooks_total{outcome="applied",source="clerk",type="user.created"} 1`},
		{in.admin + "/metrics", "", 200, `rollcall_webhooks_total{outcome="admitted",source="supabase",type="before-user-created"} 0`},
		{in.admin + "/metrics", "", 200, `rollcall_webhook_seconds_count{source="clerk"} 1`},
		{in.admin + "/metrics", "", 200, `rollcall_batch_events_count 1`},
		{in.admin + "/metrics", "", 200, `rollcall_apply_seconds_count 1`},
		{in.admin + "/metrics", "", 200, `rollcall_parked_users{target="profiles"} 0`},
		{in.admin + "/metrics", "", 200, `rollcall_target_breaker_open{target="profiles"} 0`},
		{in.admin + "/metrics", "", 200, `rollcall_target_users{state="present",target="profiles"} 0`},
		{in.admin + "/metrics", "", 200, `rollcall_target_checked_timestamp_seconds{target="profiles"} 0`},
		{in.admin + "/metrics", "", 200, `rollcall_last_verified_event_timestamp_seconds{source="supabase"} 0`},
		{in.admin + "/metrics", "", 200, `go_goroutines`},
	}
	for _, tt := range tests {
		status, body := get(t, tt.url, tt.token)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s: got %d, want %d and %s; body %.400s", tt.url, status, tt.status, tt.body, body)
		}
	}
}

// serve listens before the database is there; what arrives meanwhile waits.
func TestServeWaitsForTheDatabase(t *testing.T) {
	testtag.Parallel(t)
	server := pgtest.StartServer(t, pgserver.Options{})
	url := server.URL("postgres")
	conn := connect(t, url)
	must.Get(conn.Exec(t.Context(), shopTables))(t)
	must.Do(t, server.Stop())
	start := time.Now()
	in := startServe(t, twoSources+shopTargets, env(url))
	if took := time.Since(start); testtag.Timing && took > time.Second {
		t.Errorf("listening after %s, want under a second", took)
	}
	if status, body := get(t, in.public+"/readyz", ""); status != http.StatusServiceUnavailable || strings.Contains(body, "127.0.0.1") {
		t.Errorf("readyz without a database: %d %s", status, body)
	}
	announce := `{"metadata":{"uuid":"m1","name":"before-user-created"},"user":{"id":"s_1"}}`
	if status, outcome, _ := in.send(signed(t, source.Supabase, source.Hook, announce)); status != 204 || outcome != "admitted" {
		t.Errorf("announced without a database: %d %s", status, outcome)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		status, outcome, _ := in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a")))
		if status != 204 || outcome != "applied" {
			t.Errorf("a webhook that waited for the database: %d %s", status, outcome)
		}
	})
	time.Sleep(300 * time.Millisecond)
	must.Do(t, server.Restart(t.Context()))
	waiting.Wait()
	in.log.await(t, "ready", 1)
	if lines := in.log.Lines("waiting for the database"); len(lines) == 0 || len(lines) > 5 {
		t.Errorf("%d lines about the missing database", len(lines))
	}
}

// A shutdown answers everybody who waits, with or without a database.
func TestShutdownAnswersEveryWaiter(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	must.Get(conn.Exec(t.Context(), "begin; lock table rollcall.events in share mode"))(t)
	answers := make(chan string, 40)
	for n := range cap(answers) {
		go func() {
			_, outcome, _ := in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", fmt.Sprint("user_", n))))
			answers <- outcome
		}()
	}
	time.Sleep(200 * time.Millisecond) // they wait for the lock, in batches and in the queue
	stopped := make(chan int, 1)
	go func() { stopped <- in.stop() }()
	time.Sleep(100 * time.Millisecond)
	must.Get(conn.Exec(t.Context(), "rollback"))(t)
	for range cap(answers) {
		if got := <-answers; got != "applied" {
			t.Errorf("a waiter got %q", got)
		}
	}
	if code := <-stopped; code != exitFine {
		t.Errorf("exit code %d", code)
	}
}

// Without a database the waiters hear at once that they are to come again; a sign-up that
// is to be refused while it can't be noted is refused.
func TestShutdownWithoutADatabase(t *testing.T) {
	testtag.Parallel(t)
	yaml := strings.ReplaceAll(twoSources, "wait: 3s", "wait: 20s")
	yaml = strings.ReplaceAll(yaml, "provider: supabase", "provider: supabase\n    when_unavailable: refuse")
	in := startServe(t, yaml+shopTargets, env("postgres://nobody@127.0.0.1:1/nowhere"))
	if status, outcome, _ := in.send(signed(t, source.Supabase, source.Hook, `{"metadata":{"uuid":"m1","name":"before-user-created"},"user":{"id":"s_1"}}`)); status != 503 || outcome != "unavailable" {
		t.Errorf("announced: %d %s, want 503 unavailable", status, outcome)
	}
	request := signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a"))
	answer := make(chan string, 1)
	go func() {
		status, outcome, body := in.send(request)
		answer <- fmt.Sprint(status, " ", outcome, " ", body)
	}()
	time.Sleep(200 * time.Millisecond)
	start := time.Now()
	if code := in.stop(); code != exitFine {
		t.Errorf("exit code %d", code)
	}
	if got := <-answer; !strings.HasPrefix(got, `503 unavailable {"error":{"code":"unavailable"`) || testtag.Timing && time.Since(start) > 5*time.Second {
		t.Errorf("after %s a waiter got %s", time.Since(start), got)
	}
}

// A target that is mended is in service again, without a restart.
func TestTargetComesBack(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	in := startServe(t, twoSources+shopTargets, env(url))
	in.log.await(t, "a target is out of service; its users are parked", 1)
	must.Get(connect(t, url).Exec(t.Context(), shopTables))(t)
	in.log.await(t, "a target is in service again; it catches up", 1)
	if status, outcome, _ := in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a"))); status != 204 || outcome != "applied" {
		t.Errorf("got %d %s", status, outcome)
	}
}

// A table that is dropped and made anew lacks who isn't parked: the log says how to fill it, each
// time.
func TestTargetMadeAnew(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a")))
	for n := range 2 {
		script(t, conn, "create table made (like profiles including all); drop table profiles")
		in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", fmt.Sprint("user_b", n))))
		in.log.await(t, "a target is out of service; its users are parked", n+1)
		script(t, conn, "alter table made rename to profiles")
		line := in.log.await(t, "a target is new: its table lacks who was there before it; fill it", n+1)
		if got, want := fmt.Sprint(line["target"], line["users"], line["command"]), fmt.Sprint("profiles", n+2, "rollcall backfill profiles"); got != want {
			t.Errorf("the log says %s, want %s", got, want)
		}
		filling := environment{[]string{"backfill", "profiles", "-c", configFile(t, twoSources+shopTargets)}, env(conn.Config().ConnString()), strings.NewReader(""), io.Discard, io.Discard}
		if code := run(t.Context(), filling); code != exitFine {
			t.Fatalf("the backfill ended with %d", code)
		}
	}
}

// What is wrong with one target is said, and the others work.
func TestServeWithABrokenTarget(t *testing.T) {
	t.Parallel()
	broken := shopTargets + `
  nowhere:
    table: public.nowhere
    key: id
    set: {id: new.id}
    on_delete: keep
`
	url := pgtest.NewWith(t, shopTables)
	in := startServe(t, twoSources+broken, env(url))
	line := in.log.await(t, "a target is out of service; its users are parked", 1)
	if got := fmt.Sprint(line["target"], line["error"]); !strings.Contains(got, "nowheretable public.nowhere does not exist") {
		t.Errorf("the log says %s", got)
	}
	in.log.await(t, "ready", 1)
	if status, outcome, _ := in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a"))); status != 204 || outcome != "parked" {
		t.Errorf("got %d %s", status, outcome)
	}
	if _, body := get(t, in.admin+"/metrics", ""); !strings.Contains(body, `rollcall_target_breaker_open{target="nowhere"} 1`) || !strings.Contains(body, `rollcall_parked_users{target="nowhere"} 1`) {
		t.Errorf("metrics:\n%s", body)
	}
}

// Every log line is JSON, and a webhook has exactly one.
func TestLogLines(t *testing.T) {
	t.Parallel()
	in, _ := startShop(t)
	for n := range 3 {
		in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", fmt.Sprint("user_", n), ann)))
	}
	in.log.await(t, "webhook", 3)
	for line := range strings.Lines(in.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	if n := len(in.log.Lines("webhook")); n != 3 {
		t.Errorf("%d lines for 3 webhooks", n)
	}
	fields := in.log.Lines("webhook")[0]
	for _, name := range []string{"time", "level", "source", "type", "outcome", "status", "seconds", "bytes", "event", "user"} {
		if fields[name] == nil {
			t.Errorf("no field %s in %v", name, fields)
		}
	}
}
