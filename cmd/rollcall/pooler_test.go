//go:build pgbouncer

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
)

// Behind a pooler in session mode everything works: webhooks, captures, jobs, checks.
func TestSessionPooler(t *testing.T) {
	t.Parallel()
	direct := pgtest.NewWith(t, pgtest.Auth, countedTables,
		"alter table profiles add constraint nobody check (email <> 'parked@example.com')")
	url := pgtest.Pooled(t, direct, map[string]string{"pool_mode": "session"})
	in := serveAt(t, twoSources+shopTargets, url)
	db := fixture.At(t, direct)

	in.expect(created(t, "user_a"), accepted("applied"))
	in.expect(created(t, "user_b",
		`"primary_email_address_id":"e","email_addresses":[{"id":"e","email_address":"parked@example.com"}]`), accepted("parked"))
	if got := in.run(t.Context(), "capture", "install", "supabase"); got.code != cli.ExitFine {
		t.Fatalf("install the capture: %s", got)
	}
	db.Exec("insert into auth.users (id, email, updated_at) values ('5b6f0a0e-0000-4000-8000-000000000001', 'c@example.com', now())")
	db.Exec("alter table profiles drop constraint nobody") // from now on a job can settle the user
	db.Await("select id, email from profiles order by 1",
		"5b6f0a0e-0000-4000-8000-000000000001|c@example.com", "user_a|∅", "user_b|parked@example.com")
	if got := in.run(t.Context(), "check"); got.code != cli.ExitFine {
		t.Errorf("check: %s", got)
	}
	if in.stop() != cli.ExitFine {
		t.Error("serve did not end well")
	}
}

// Whoever connects to a transaction pooler is told what to do instead, at once.
func TestTransactionPoolerIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.Pooled(t, pgtest.NewWith(t, pgtest.Auth, shopTables), map[string]string{"pool_mode": "transaction"})
	c := newCLI(t, twoSources+shopTargets, url)
	for _, args := range []string{"serve", "migrate", "check", "check --user user_a", "reconcile supabase", "capture install supabase", "capture status", "capture remove supabase"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // serve ends only when it refuses to run
		got := c.run(ctx, strings.Fields(args)...)
		cancel()
		if got.code != cli.ExitProblems || !strings.Contains(got.log, "session pooler, port 5432 instead of 6543") ||
			!strings.Contains(got.log, "direct connection") {
			t.Errorf("rollcall %s: %s", args, got)
		}
	}
}
