package reconcile_test

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
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

// watchHeap follows the largest size of the heap during the next runs.
func (p *project) watchHeap() *uint64 {
	var peak uint64
	p.Progress = func(*event.Roll, int64, int64) { peak = max(peak, heap()) }
	return &peak
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// usersOfTest is how many users a measurement takes, unless a variable says otherwise.
func usersOfTest(t testing.TB, variable string, n int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		return must.Get(strconv.Atoi(text))(t)
	}
	return n
}

// What a million users take, or as many as ROLLCALL_TEST_USERS says: compared with a roll
// that is right, and when a tenth is missing.
func TestSpeed(t *testing.T) {
	testtag.Parallel(t)
	n := usersOfTest(t, "ROLLCALL_TEST_USERS", 100_000)
	p := newProject(t)
	p.InsertUsers(1, n)
	t.Logf("%d users brought in: %s", n, timed(func() { p.run() }))
	peak := p.watchHeap() // whatever the number of users
	compared := time.Hour
	for range 5 { // the best try counts: other packages' tests run beside
		compared = min(compared, timed(func() { p.wantRun(directory.Reconciled{Unchanged: int64(n)}) }))
		if compared/time.Duration(n)*1_000_000 < time.Minute {
			break
		}
	}
	if *peak > 128<<20 {
		t.Errorf("the heap grew to %d MiB", *peak>>20)
	}
	p.InsertUsers(n+1, n/10)
	mended := timed(func() { p.wantRun(directory.Reconciled{Unchanged: int64(n), Created: int64(n / 10)}) })
	t.Logf("%d users compared in %s (%.0f/s), %d MiB of heap; with %d missing in %s", n, compared, float64(n)/compared.Seconds(), *peak>>20, n/10, mended)
	if perMillion := compared / time.Duration(n) * 1_000_000; testtag.Timing && perMillion > time.Minute {
		t.Errorf("a million would take %s", perMillion)
	}
}

// What ten thousand users take, or as many as ROLLCALL_TEST_CLERK_USERS says: brought in, and
// compared with a roll that is right.
func TestClerkSpeed(t *testing.T) {
	n := usersOfTest(t, "ROLLCALL_TEST_CLERK_USERS", 10_000)
	in := newInstance(t)
	in.clerk.PutMany(n)
	runtime.GC()
	users, peak := heap(), in.watchHeap() // the instance's own users are in the same heap
	t.Logf("%d users brought in: %s", n, timed(func() { in.wantRun(directory.Reconciled{Created: int64(n)}) }))
	compared := timed(func() { in.wantRun(directory.Reconciled{Unchanged: int64(n)}) })
	t.Logf("%d users compared in %s, %d MiB of heap beside the %d MiB of the instance", n, compared, (max(*peak, users)-users)>>20, users>>20)
	if *peak > users+128<<20 {
		t.Errorf("the heap grew from %d to %d MiB", users>>20, *peak>>20)
	}
}

// What 10,000 memberships in 100 organisations take, or as many as ROLLCALL_TEST_MEMBERSHIPS says: brought in, and
// compared with rolls that are right. With the tag timing it is 100,000 in 1,000, for which a minute beside the
// stand-in is the bound.
func TestTeamsSpeed(t *testing.T) {
	testtag.Parallel(t)
	n := 10_000
	if testtag.Timing {
		n = 100_000
	}
	n = usersOfTest(t, "ROLLCALL_TEST_MEMBERSHIPS", n) / 100 * 100
	in := newTeams(t)
	in.clerk.PutMany(n / 10)
	in.clerk.PutTeams(n/100, 100)
	standIn := &timedClient{RoundTripper: in.clerk.Client().Transport}
	in.connect(in.clerk, &http.Client{Transport: standIn})
	runtime.GC()
	before, peak := heap(), in.watchHeap() // what the stand-in has is in the same heap
	measured := func(what string, want ...directory.Reconciled) time.Duration {
		standIn.spent.Store(0)
		took, served := timed(func() { in.wantTeams(want...) }), time.Duration(standIn.spent.Load())
		t.Logf("%d memberships %s in %s, of which the stand-in took %s", n, what, took, served)
		return took - served
	}
	measured("brought in", created(n/10), created(n/100), created(n))
	compared := measured("compared", unchanged(n/10), unchanged(n/100), unchanged(n))
	t.Logf("%d MiB of heap beside the %d MiB of the stand-in", (max(*peak, before)-before)>>20, before>>20)
	if testtag.Timing && compared/time.Duration(n)*100_000 > time.Minute {
		t.Errorf("100,000 would take %s", compared/time.Duration(n)*100_000)
	}
}

// timedClient adds up what its answers take.
type timedClient struct {
	http.RoundTripper
	spent atomic.Int64
}

func (c *timedClient) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	defer func() { c.spent.Add(int64(time.Since(start))) }()
	return c.RoundTripper.RoundTrip(r)
}
