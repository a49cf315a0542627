package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

func TestServe(t *testing.T) {
	t.Parallel()
	in := startShop(t)
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
	in.db.Want("select id, email, name, role from profiles", "s_1|new@example.com||customer")
	in.db.Want(`select count(*) from rollcall.events where convert_from(body, 'UTF8') ~ 'hunter2|encrypted_password|private_metadata'`, "0")
	if code := in.stop(); code != cli.ExitFine {
		t.Errorf("exit code %d", code)
	}
}

// serve listens before the database is there; what arrives meanwhile waits.
func TestServeWaitsForTheDatabase(t *testing.T) {
	testtag.Parallel(t)
	server := pgtest.StartServer(t, pgserver.Options{})
	url := server.URL("postgres")
	fixture.At(t, url).Exec(shopTables)
	must.Do(t, server.Stop())
	start := time.Now()
	patient := strings.Replace(twoSources, "wait: 3s", "wait: 10s", 1) // a busy machine starts PostgreSQL slowly
	in := startServe(t, patient+shopTargets, env(url))
	if took := time.Since(start); testtag.Timing && took > time.Second {
		t.Errorf("listening after %s, want under a second", took)
	}
	if status, body := get(t, in.public+"/readyz", ""); status != http.StatusServiceUnavailable || strings.Contains(body, "127.0.0.1") {
		t.Errorf("readyz without a database: %d %s", status, body)
	}
	in.expect(announced(t, "supabase", "m1"), accepted("admitted"))
	var waiting sync.WaitGroup
	waiting.Go(func() { in.expect(created(t, "user_a"), accepted("applied")) }) // it waits for the database
	time.Sleep(300 * time.Millisecond)
	must.Do(t, server.Restart(t.Context()))
	waiting.Wait()
	in.log.await(t, "ready", 1)
	if lines := in.log.Lines("waiting for the database"); len(lines) == 0 || len(lines) > 5 {
		t.Errorf("%d lines about the missing database", len(lines))
	}
}

// A shutdown answers every request that waits, with or without a database.
func TestShutdownAnswersEveryWaiter(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.db.Exec("begin; lock table rollcall.events in share mode")
	answers := make(chan heard, 40)
	var written sync.WaitGroup
	for n := range cap(answers) {
		r := noting(created(t, fmt.Sprint("user_", n)), &written)
		go func() { answers <- ask(t, in.public, r) }()
	}
	written.Wait()
	time.Sleep(200 * time.Millisecond) // they wait for the lock, in batches and in the queue
	stopped := make(chan int, 1)
	go func() { stopped <- in.stop() }()
	time.Sleep(100 * time.Millisecond)
	in.db.Exec("rollback")
	for range cap(answers) {
		if got := <-answers; got != accepted("applied") {
			t.Errorf("a waiter got %v", got)
		}
	}
	if code := <-stopped; code != cli.ExitFine {
		t.Errorf("exit code %d", code)
	}
}

// Without a database the waiters hear at once that they are to come again; a sign-up that
// is to be refused while it can't be noted is refused.
func TestShutdownWithoutADatabase(t *testing.T) {
	testtag.Parallel(t)
	yaml := strings.ReplaceAll(twoSources, "wait: 3s", "wait: 20s")
	yaml = strings.ReplaceAll(yaml, "provider: supabase", "provider: supabase\n    when_unavailable: refuse")
	in := startServe(t, yaml+shopTargets, env(nowhere))
	in.expect(announced(t, "supabase", "m1"), unavailable)
	answer := make(chan string, 1)
	var written sync.WaitGroup
	r := noting(created(t, "user_a"), &written)
	go func() {
		defer close(answer)
		status, outcome, body := in.send(r)
		answer <- fmt.Sprint(status, " ", outcome, " ", body)
	}()
	written.Wait()
	time.Sleep(200 * time.Millisecond)
	start := time.Now()
	if code := in.stop(); code != cli.ExitFine {
		t.Errorf("exit code %d", code)
	}
	if got := <-answer; !strings.HasPrefix(got, `503 unavailable {"error":{"code":"unavailable"`) {
		t.Errorf("the waiter got %s", got)
	}
	must.Within(t, start, 5*time.Second, "the shutdown")
}

// A target that is mended is in service again, without a restart.
func TestTargetComesBack(t *testing.T) {
	t.Parallel()
	db := fixture.New(t)
	in := startServe(t, twoSources+shopTargets, env(db.Address))
	in.log.await(t, "a target is out of service; its users are parked", 1)
	db.Exec(shopTables)
	in.log.await(t, "a target is in service again; it catches up", 1)
	in.expect(created(t, "user_a"), accepted("applied"))
}

// A table that is dropped and made anew lacks who isn't parked: the log says how to fill it, each
// time.
func TestTargetMadeAnew(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.send(created(t, "user_a"))
	for n := range 2 {
		in.db.Exec("create table made (like profiles including all); drop table profiles")
		in.send(created(t, fmt.Sprint("user_b", n)))
		in.log.await(t, "a target is out of service; its users are parked", n+1)
		in.db.Exec("alter table made rename to profiles")
		line := in.log.await(t, "a target is new: its table lacks users from before it; fill it", n+1)
		if got, want := fmt.Sprint(line["target"], line["users"], line["command"]), fmt.Sprint("profiles", n+2, "rollcall backfill profiles"); got != want {
			t.Errorf("the log says %s, want %s", got, want)
		}
		if filling := in.run(t.Context(), "backfill", "profiles"); filling.code != cli.ExitFine {
			t.Fatalf("the backfill says %s", filling)
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
	in := serveAt(t, twoSources+broken, pgtest.NewWith(t, shopTables))
	line := in.log.await(t, "a target is out of service; its users are parked", 1)
	if got := fmt.Sprint(line["target"], line["error"]); !strings.Contains(got, "nowheretable public.nowhere does not exist") {
		t.Errorf("the log says %s", got)
	}
	in.expect(created(t, "user_a"), accepted("parked"))
	in.counts(`rollcall_target_breaker_open{target="nowhere"} 1`, `rollcall_parked_users{target="nowhere"} 1`)
}

// Every log line is JSON, and a webhook has exactly one.
func TestLogLines(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	for n := range 3 {
		in.send(created(t, fmt.Sprint("user_", n), ann))
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
	in.send(signed(t, source.Clerk, source.Hook, clerkUser("organization.updated", "org_a")))
	in.log.await(t, "webhook", 4)
	if got := in.log.Lines("webhook")[3]["organization"]; got != "org_a" {
		t.Errorf("the organisation is %v in the log", got)
	}
}

// What a provider or an unverified sender sends can't act on the terminal that shows the log.
func TestLogIsPrintable(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	hostile := "u\u009b31m\u202ex\u2066\ufeff\u007f"
	in.send(created(t, hostile))
	in.log.await(t, "webhook", 1)
	if got := in.log.Lines("webhook")[0]["user"]; got != hostile {
		t.Errorf("the user is %q in the log", got)
	}
	if said := strings.ReplaceAll(in.log.String(), "\n", ""); strings.ContainsFunc(said, event.Unprintable) {
		t.Errorf("the log says %q", said)
	}
}

// A warning is logged at the start, and the target works all the same.
func TestServeWarns(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth, `create table profiles (id uuid primary key references auth.users, email text, name text not null, role text not null);
		grant create on schema public to public`)
	yaml := strings.Replace(twoSources+shopTargets, "table: public.profiles", "from: [supabase]\n    table: public.profiles", 1)
	in := serveAt(t, yaml, url)
	said := in.log.await(t, "a target needs attention", 1)
	warning, _ := said["warning"].(string)
	if said["level"] != "WARN" || said["target"] != "profiles" || !strings.Contains(warning, "keeps the provider from deleting a user") || !strings.HasSuffix(warning, "on delete cascade") {
		t.Errorf("the log says %v", said)
	}
	for i, want := range []string{"role_superuser", "public_create"} {
		said := in.log.await(t, "a finding", i+1)
		if said["level"] != "WARN" || said["code"] != want {
			t.Errorf("the log says %v, want %q", said, want)
		}
	}
	for _, state := range in.log.Lines("a target is out of service; its users are parked") {
		t.Errorf("the log says %v", state)
	}
	got := in.run(t.Context(), "migrate", "--print")
	if got.code != cli.ExitFine || !strings.HasPrefix(got.log, "rollcall: warning: ") || !strings.Contains(got.log, "target profiles: the foreign key") {
		t.Errorf("exit code %d, %s", got.code, got.log)
	}
}

// A replica that starts beside one with other targets says so, once; one with the same does not.
func TestReplicasWithOtherTargets(t *testing.T) {
	t.Parallel()
	const differ = "other replicas run with other targets; give all of them the same configuration"
	says := func(in *instance) int { return len(in.log.Lines(differ)) }
	url := pgtest.NewWith(t, shopTables)
	first, same := serveAt(t, twoSources+shopTargets, url), serveAt(t, twoSources+shopTargets, url)
	first.db.Await("select count(*) from rollcall.replicas", "2")
	if says(first)+says(same) > 0 {
		t.Errorf("said before there was another: %s", first.log)
	}
	other := startServe(t, twoSources+strings.Replace(shopTargets, "'customer'", "'guest'", 1), env(url))
	other.log.await(t, differ, 1)
	first.log.await(t, differ, 1)
	time.Sleep(100 * time.Millisecond)
	if says(other) != 1 {
		t.Errorf("said %d times", says(other))
	}
}

// The schedule of a Clerk source runs.
func TestServeReconcilesClerk(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	clerk.PutMany(20)
	in := serveAt(t, oneMachine+`sources:
  clerk:
    provider: clerk
    api: {key: `+clerk.Key()+`, url: "`+clerk.URL()+`"}
    reconcile: {schedule: 0 0 1 1 *}
`+shopTargets, pgtest.NewWith(t, shopTables))
	in.due("reconcile clerk")
	if line := in.log.await(t, "reconciled", 1); line["created"] != 20.0 {
		t.Errorf("the log says %v", line)
	}
	in.db.Want("select count(*) from profiles", "20")
}

// A ban that ends by itself ends in the table, too, with two replicas.
func TestServeEndsBans(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, "create table profiles (id text primary key, banned boolean)")
	const yaml = twoSources + `
targets:
  profiles: {table: public.profiles, key: id, set: {id: new.id, banned: new.banned}, on_delete: delete}
`
	in := serveAt(t, yaml, url)
	serveAt(t, yaml, url)
	banned := func(until time.Time) *http.Request {
		return signed(t, source.Supabase, source.Database, `{"type":"UPDATE","schema":"auth","table":"users","record":{"id":"s_1","updated_at":"2026-01-02T03:04:06+00:00","banned_until":"`+
			until.UTC().Format(time.RFC3339Nano)+`"},"old_record":{"id":"s_1"}}`)
	}
	in.expect(banned(time.Now().Add(time.Hour)), accepted("applied"))
	in.db.Want("select banned from profiles", "t")
	in.db.Exec("update rollcall.users set banned_until = banned_until - interval '1 hour'")
	in.db.Await("select banned from profiles", "f")
	in.expect(banned(time.Now()), accepted("applied"))
	in.db.Want("select banned from profiles", "f")
}
