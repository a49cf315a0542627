package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
)

// byHand fills the roll as a reconciliation would that knew of no other traffic.
const byHand = `insert into rollcall.users (source, id, version, email, email_verified, email_confirmed_at, phone, phone_verified, phone_confirmed_at,
  full_name, raw_user_meta_data, raw_app_meta_data, is_anonymous, banned, banned_until, created_at, updated_at, last_sign_in_at)
select 'supabase', id::text, (extract(epoch from updated_at) * 1000000)::bigint, email, email_confirmed_at is not null, email_confirmed_at,
  phone, phone_confirmed_at is not null, phone_confirmed_at, raw_user_meta_data->>'full_name', raw_user_meta_data, '{}', is_anonymous,
  coalesce(banned_until > now(), false), banned_until, created_at, updated_at, last_sign_in_at
from auth.users order by id`

// BenchmarkFirstRun holds a first reconciliation against what its rows cost anyway: one insert …
// select into the roll, which neither reads JSON nor guards anything, and a backfill of each of two
// targets. ROLLCALL_TEST_USERS says of how many users.
func BenchmarkFirstRun(b *testing.B) {
	second := profileTarget()
	second.Name, second.Table = "members", "public.members"
	h := furnish(b, pgtest.NewWith(b, pgtest.Auth, profiles, strings.Replace(profiles, "profiles", "members", 1)), "", profileTarget(), second)
	h.Source, h.Table = newSource(b, source.Supabase), "auth.users"
	n := usersOfTest(b, 100_000)
	h.users(1, n)
	h.exec("vacuum (analyze) auth.users")
	var first, rows time.Duration
	for b.Loop() {
		h.empty()
		first += timed(func() { h.wantRun(postgres.Reconciled{Created: int64(n)}) })
		h.empty()
		rows += timed(func() {
			h.exec(byHand)
			h.backfill("profiles", n)
			h.backfill("members", n)
		})
	}
	b.ReportMetric(first.Seconds()/float64(b.N), "s/run")
	b.ReportMetric(rows.Seconds()/float64(b.N), "s/rows")
	b.ReportMetric(first.Seconds()/rows.Seconds(), "run/rows")
}

// empty leaves nothing but auth.users.
func (h *house) empty() {
	h.t.Helper()
	h.exec("truncate rollcall.users, rollcall.reconciliations, rollcall.backfills, profiles, members")
}

func (h *house) backfill(target string, n int) {
	h.t.Helper()
	done, err := h.DB.Backfill(h.t.Context(), target, nil)
	if err != nil || done.Visited != int64(n) || done.Parked > 0 {
		h.t.Fatal(done, err)
	}
}

func timed(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}
