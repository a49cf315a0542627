package reconcile_test

import (
	"slices"
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

// TestFirstRunSpeed holds a first reconciliation against what its rows cost anyway: one insert …
// select into the roll, which neither reads JSON nor guards anything, and a backfill of each
// target. Twice that time is wanted and logged. The race detector makes it up to eight times, for it
// slows only Rollcall's own part down, and other tests may be in its way: so only more than twelve
// times fails. ROLLCALL_TEST_USERS says of how many users instead of 20,000.
func TestFirstRunSpeed(t *testing.T) {
	second := target()
	second.Name, second.Table = "members", "public.members"
	h := furnish(t, pgtest.NewWith(t, pgtest.Auth, profiles, strings.Replace(profiles, "profiles", "members", 1)), "", target(), second)
	h.Source, h.Table = newSource(t, source.Supabase), "auth.users"
	n := usersOfTest(t, 20_000)
	h.users(1, n)
	h.exec("vacuum (analyze) auth.users")
	ratio := 0.0
	for range 3 {
		if ratio = h.measureFirst(n); ratio <= 12 {
			return
		}
	}
	t.Errorf("a first reconciliation takes %.2f of the time of its rows, want 2", ratio)
}

// measureFirst alternates between the two and returns the ratio of the medians.
func (h *house) measureFirst(n int) float64 {
	h.t.Helper()
	const rounds = 3
	var first, rows, roll []time.Duration
	for range rounds {
		h.empty()
		first = append(first, timed(func() { h.wantRun(postgres.Reconciled{Created: int64(n)}) }))
		h.empty()
		roll = append(roll, timed(func() { h.exec(byHand) }))
		rows = append(rows, roll[len(roll)-1]+timed(func() {
			h.backfill("profiles", n)
			h.backfill("members", n)
		}))
	}
	ratio := float64(median(first)) / float64(median(rows))
	h.t.Logf("%d users into two targets: reconciled in %s; insert … select into the roll %s, with a backfill of both %s (medians of %d): %.2f of that time",
		n, median(first), median(roll), median(rows), rounds, ratio)
	return ratio
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

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}
