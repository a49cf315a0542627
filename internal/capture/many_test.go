package capture_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// One statement with 50,000 users, and its capture, take no longer than with the trigger of older
// versions, which notes each user's data. They are taken at the pipeline's own speed.
func TestManyAtOnce(t *testing.T) {
	testtag.Parallel(t)
	const n = 50_000
	p, old := newProject(t), oldProject(t)
	inserted, captured, peak := p.takeMany(n)
	oldInserted, oldCaptured, _ := old.takeMany(n)
	old.stop()
	ratio := float64(inserted+captured) / float64(oldInserted+oldCaptured)
	t.Logf("%d users: %s the statement, then %s until they are in the targets; with the old trigger %s and %s: %.2f of its time",
		n, inserted, captured, oldInserted, oldCaptured, ratio)
	if testtag.Timing && ratio > 1 {
		t.Errorf("%d users take %.2f of the time that they take with the trigger of older versions", n, ratio)
	}
	p.Exec("insert into auth.users (id) values ($1)", fixture.ID(n+1)) // who comes next doesn't pay for them
	next := time.Now()
	p.Await("select id::text from profiles where id = '"+fixture.ID(n+1)+"'", fixture.ID(n+1))
	if took := time.Since(next); testtag.Timing && took > 500*time.Millisecond {
		t.Errorf("the next sign-up took %s", took)
	}
	p.stop()
	if peak > 64<<20 {
		t.Errorf("it took %d MiB of memory, want less than 64", peak>>20)
	}
	p.Want("select count(*)::text from profiles", fmt.Sprint(n+1))

	own := oldProject(t)
	var events []event.Event
	start := time.Now()
	for i := range n {
		row := fmt.Sprintf(`{"id":%q,"email":"%d@x.test","raw_user_meta_data":{"full_name":"Ada Lovelace"},"updated_at":"2026-01-01T00:00:00Z"}`, fixture.ID(i), i)
		user := must.Get(own.source.DecodeUser([]byte(row), time.Now()))(t)
		events = append(events, event.Event{Source: "supabase", Op: event.Upsert, UserID: user.ID, User: user})
	}
	must.Get(own.Pipeline.SubmitAll(t.Context(), events))(t)
	direct := time.Since(start)
	t.Logf("%d users: %s from the outbox, %s decoded and through the pipeline: %.2f of its speed; %d MiB", n, captured, direct, float64(direct)/float64(captured), peak>>20)
	if testtag.Timing && captured > 5*direct/2 {
		t.Errorf("the outbox takes %s, the pipeline %s", captured, direct)
	}
}

// takeMany inserts users by one statement and captures them; peak is in bytes of the heap.
func (p *project) takeMany(n int) (inserted, captured time.Duration, peak uint64) {
	p.T.Helper()
	start := time.Now()
	p.Exec(`insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at)
		select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test', '{"full_name": "Ada Lovelace"}', now(), now() from generate_series(1, $1::int) g`, n)
	inserted = time.Since(start)
	start = time.Now()
	peak = p.peak(func() {
		p.run()
		p.settled()
	})
	return inserted, time.Since(start), peak
}

// peak is by how many bytes the heap grows at most while something is done.
func (p *project) peak(do func()) uint64 {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	base, peak := heap(), uint64(0)
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
				peak = max(peak, heap())
			}
		}
	})
	do()
	close(ended)
	watching.Wait()
	return peak - min(peak, base)
}
