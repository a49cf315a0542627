//go:build pgbouncer

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

// rollcall runs a command line with a configuration and returns its exit code and what it
// printed, errors last.
func rollcall(t testing.TB, yaml string, getenv func(string) string, args ...string) (int, string) {
	t.Helper()
	file := configFile(t, yaml)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // serve ends only when it refuses to run
	defer cancel()
	var out, failed strings.Builder
	code := run(ctx, environment{append(args, "-c", file), getenv, strings.NewReader(""), &out, &failed})
	return code, out.String() + failed.String()
}

// Behind a pooler in session mode everything works: webhooks, captures, jobs, checks.
func TestSessionPooler(t *testing.T) {
	t.Parallel()
	direct := pgtest.NewWith(t, pgtest.Auth, countedTables,
		"alter table profiles add constraint nobody check (email <> 'parked@example.com')")
	url := pgtest.Pooled(t, direct, map[string]string{"pool_mode": "session"})
	in := startServe(t, twoSources+shopTargets, env(url))
	in.log.await(t, "ready", 1)
	conn := connect(t, direct)

	expect(t, in, signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a")), heard{204, "applied", false})
	expect(t, in, signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_b",
		`"primary_email_address_id":"e","email_addresses":[{"id":"e","email_address":"parked@example.com"}]`)), heard{204, "parked", false})
	if code, said := rollcall(t, twoSources, env(url), "capture", "install", "supabase"); code != exitFine {
		t.Fatalf("install the capture: %d %s", code, said)
	}
	for _, sql := range []string{
		"insert into auth.users (id, email, updated_at) values ('5b6f0a0e-0000-4000-8000-000000000001', 'c@example.com', now())",
		"alter table profiles drop constraint nobody", // from now on a job can settle the user
	} {
		must.Get(conn.Exec(t.Context(), sql))(t)
	}
	want := map[string]string{"user_a": "", "user_b": "parked@example.com", "5b6f0a0e-0000-4000-8000-000000000001": "c@example.com"}
	got := map[string]string{}
	for deadline := time.Now().Add(15 * time.Second); len(got) < len(want) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = pairs(t, conn, "select id, coalesce(email, '') from profiles")
	}
	same(t, "profiles", want, got)
	if code, said := rollcall(t, twoSources+shopTargets, env(url), "check"); code != exitFine {
		t.Errorf("check: %d %s", code, said)
	}
	if in.stop() != exitFine {
		t.Error("serve did not end well")
	}
}

// Whoever connects to a transaction pooler is told what to do instead, at once.
func TestTransactionPoolerIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Pooled(t, pgtest.NewWith(t, pgtest.Auth, shopTables), map[string]string{"pool_mode": "transaction"})
	yaml := twoSources + shopTargets
	for _, args := range []string{"serve", "migrate", "check", "check --user user_a", "reconcile supabase", "capture install supabase", "capture status", "capture remove supabase"} {
		code, said := rollcall(t, yaml, env(url), strings.Fields(args)...)
		if code != exitProblems || !strings.Contains(said, "session pooler, port 5432 instead of 6543") || !strings.Contains(said, "direct connection") {
			t.Errorf("rollcall %s: exit %d, it said %s", args, code, said)
		}
	}
}
