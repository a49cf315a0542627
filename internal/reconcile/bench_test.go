package reconcile_test

import (
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/postgres/directory"
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
	second := fixture.Target(source.Supabase)
	second.Name, second.Table = "members", "public.members"
	p := startProject(fixture.Supabase(b, strings.Replace(fixture.Profiles, "profiles", "members", 1)), "", fixture.Target(source.Supabase), second)
	p.Source, p.Table = fixture.Source(b, source.Supabase), "auth.users"
	n := usersOfTest(b, "ROLLCALL_TEST_USERS", 100_000)
	p.InsertUsers(1, n)
	p.Exec("vacuum (analyze) auth.users")
	var first, rows time.Duration
	for b.Loop() {
		p.empty()
		first += timed(func() { p.wantRun(directory.Reconciled{Created: int64(n)}) })
		p.empty()
		rows += timed(func() {
			p.Exec(byHand)
			p.backfill("profiles", n)
			p.backfill("members", n)
		})
	}
	b.ReportMetric(first.Seconds()/float64(b.N), "s/run")
	b.ReportMetric(rows.Seconds()/float64(b.N), "s/rows")
	b.ReportMetric(first.Seconds()/rows.Seconds(), "run/rows")
}

// empty leaves nothing but auth.users.
func (p *project) empty() {
	p.T.Helper()
	p.Exec("truncate rollcall.users, rollcall.reconciliations, rollcall.backfills, profiles, members")
}

func (p *project) backfill(target string, n int) {
	p.T.Helper()
	done, err := p.DB.Backfills().Run(p.T.Context(), target, nil)
	if err != nil || done.Visited != int64(n) || done.Parked > 0 {
		p.T.Fatal(done, err)
	}
}

func timed(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}
