package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
)

// gate is an Apply that waits to be let through and notes the sizes of batches.
type gate struct {
	mu    sync.Mutex
	sizes []int
	open  chan struct{}
}

func (g *gate) apply(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	g.mu.Lock()
	g.sizes = append(g.sizes, len(events))
	g.mu.Unlock()
	select {
	case <-g.open:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", event.ErrUnavailable, ctx.Err())
	}
	outcomes := make([]event.Outcome, len(events))
	for i, e := range events {
		outcomes[i] = event.Outcome("outcome of " + e.ID)
	}
	return outcomes, nil
}

// wants looks at the batches that have begun once nothing more happens.
func (g *gate) wants(t *testing.T, sizes string) {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := fmt.Sprint(g.sizes); got != sizes {
		t.Errorf("batches of %s, want %s", got, sizes)
	}
}

// startGated starts a pipeline behind a gate that is not open yet.
func startGated(cfg Config) (*gate, *Pipeline) {
	g := &gate{open: make(chan struct{})}
	cfg.Apply = g.apply
	p := New(cfg)
	p.Start()
	return g, p
}

// submit sends n events at once and returns what each submitter got.
func submit(p *Pipeline, n int) func() map[string]string {
	var waiting sync.WaitGroup
	var mu sync.Mutex
	got := map[string]string{}
	for i := range n {
		id := fmt.Sprint("e", i)
		waiting.Go(func() {
			outcome, err := p.Submit(context.Background(), event.Event{ID: id})
			mu.Lock()
			defer mu.Unlock()
			got[id] = string(outcome)
			if err != nil {
				got[id] = err.Error()
			}
		})
	}
	return func() map[string]string { waiting.Wait(); return got }
}

// A batch is what arrived while the last ones were under way, and every waiter gets its own
// outcome.
func TestBatchesFormByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, p := startGated(Config{})
		first := submit(p, 1)
		g.wants(t, "[1]")
		second := submit(p, 10)
		g.wants(t, "[1]") // the first will soon be done
		time.Sleep(patience)
		g.wants(t, "[1 10]")
		rest := submit(p, 600)
		g.wants(t, "[1 10]")
		close(g.open)
		for id, outcome := range rest() {
			if outcome != "outcome of "+id {
				t.Errorf("%s got %q", id, outcome)
			}
		}
		first()
		second()
		p.Shutdown(t.Context())
		slices.Sort(g.sizes)
		g.wants(t, "[1 10 88 512]") // what had gathered, 512 at most
	})
}

// Enough of them need not wait for the batch that is under way.
func TestEnoughBeginAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, p := startGated(Config{})
		first := submit(p, 1)
		synctest.Wait()
		begin := time.Now()
		rest := submit(p, enough)
		synctest.Wait()
		if len(g.sizes) != 2 || time.Since(begin) != 0 {
			t.Errorf("batches of %v after %s", g.sizes, time.Since(begin))
		}
		close(g.open)
		first()
		rest()
		p.Shutdown(t.Context())
	})
}

// What a batch leaves, and what comes later, waits no longer than patience beside it.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		p := New(Config{Apply: g.apply, Committers: 3})
		submit(p, maxBatchEvents+8)
		synctest.Wait()
		p.Start()
		g.wants(t, "[512]")
		time.Sleep(patience)
		g.wants(t, "[512 8]")
		submit(p, 1)
		time.Sleep(patience - time.Nanosecond)
		g.wants(t, "[512 8]")
		time.Sleep(time.Nanosecond)
		g.wants(t, "[512 8 1]")
		close(g.open)
		p.Shutdown(t.Context())
	})
}

// An event that waits beside several batches begins when patience with the last of them ends.
func TestPatienceWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, p := startGated(Config{Committers: 3})
		begun := time.Now()
		at := func(after time.Duration, events int, sizes string) {
			t.Helper()
			time.Sleep(after - time.Since(begun))
			submit(p, events)
			g.wants(t, sizes)
		}
		at(0, 1, "[1]")
		at(1*time.Millisecond, 1, "[1]")
		at(2*time.Millisecond, enough-1, "[1 32]")
		at(3*time.Millisecond, 1, "[1 32]")
		at(6*time.Millisecond, 0, "[1 32]")
		at(7*time.Millisecond, 0, "[1 32 1]")
		close(g.open)
		p.Shutdown(t.Context())
	})
}

// Waiting ends with the context or with Config.Wait; the event is applied all the same.
func TestSubmitStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, p := startGated(Config{Wait: 4 * time.Second, Committers: 1})
		start := time.Now()
		_, err := p.Submit(t.Context(), event.Event{ID: "patient"})
		if !errors.Is(err, event.ErrUnavailable) || time.Since(start) != 4*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = p.Submit(ctx, event.Event{ID: "hurried"})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, event.ErrUnavailable) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		close(g.open)
		p.Shutdown(t.Context())
		if got := fmt.Sprint(g.sizes); got != "[1 1]" {
			t.Errorf("batches of %s: the events of those who left must be applied", got)
		}
	})
}

// An error reaches every waiter of its batch; an event that alone failed only its own.
func TestErrorsReachTheirWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := fmt.Errorf("%w: no database", event.ErrUnavailable)
		p := New(Config{Apply: func(_ context.Context, events []event.Event) ([]event.Outcome, error) {
			if len(events) > 1 {
				return nil, broken
			}
			return []event.Outcome{event.Unavailable}, nil
		}, Committers: 1})
		waiting := submit(p, 3)
		synctest.Wait()
		p.Start()
		for id, got := range waiting() {
			if got != broken.Error() {
				t.Errorf("%s got %q", id, got)
			}
		}
		must.Fail(t, must.Err(p.Submit(t.Context(), event.Event{})), event.ErrUnavailable)
		p.Shutdown(t.Context())
	})
}

// A shutdown finishes what is queued, and ends what does not end by itself.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := startGated(Config{}) // the gate is never opened
		waiting := submit(p, 5)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		p.Shutdown(ctx)
		if took := time.Since(start); took != time.Second {
			t.Errorf("the shutdown took %s, want its context's second", took)
		}
		for id, got := range waiting() {
			if !strings.HasPrefix(got, "unavailable: ") {
				t.Errorf("%s got %q", id, got)
			}
		}
	})
}

// Many events go through a part at a time, each with its own outcome, and leave room for
// others.
func TestSubmitAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, p := startGated(Config{Queue: inFlight + 1})
		events := make([]event.Event, 5000)
		for i := range events {
			events[i].ID = fmt.Sprint("e", i)
		}
		ended := make(chan error, 1)
		go func() {
			outcomes, err := p.SubmitAll(t.Context(), events)
			for i, o := range outcomes {
				if o != event.Outcome("outcome of "+events[i].ID) {
					t.Errorf("%s got %q", events[i].ID, o)
				}
			}
			ended <- err
		}()
		synctest.Wait()
		if n := len(p.queue); n > inFlight {
			t.Errorf("%d events are in the queue, want %d at most", n, inFlight)
		}
		rest := submit(p, 1)
		close(g.open)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		rest()
		p.Shutdown(t.Context())
	})
}

// While the queue is full, SubmitAll waits; what is not applied is said.
func TestSubmitAllWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Apply: func(_ context.Context, events []event.Event) ([]event.Outcome, error) {
			if events[0].ID == "refused" {
				return nil, event.ErrUnavailable
			}
			return []event.Outcome{event.Applied}, nil
		}, Queue: 1, Committers: 1})
		waiting := submit(p, 1)
		synctest.Wait()
		time.AfterFunc(time.Second, p.Start)
		outcomes, err := p.SubmitAll(t.Context(), []event.Event{{ID: "a"}, {ID: "refused"}, {ID: "b"}})
		if !errors.Is(err, event.ErrUnavailable) || outcomes[0] != event.Applied || outcomes[1] != event.Unavailable {
			t.Errorf("got %v, %v", outcomes, err)
		}
		waiting()
		p.Shutdown(t.Context())
	})
}

// A batch that panics answers every waiter and is logged without the words of the panic; the
// batches after it are applied.
func TestPanicInApply(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		for _, broken := range []func() []event.Outcome{
			func() []event.Outcome { panic("bob@example.com") },
			func() []event.Outcome { var none []event.Outcome; return none[:1] },
			func() []event.Outcome { return []event.Outcome{} }, // one for each event is the contract
		} {
			var mended atomic.Bool
			p := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Committers: 1, Apply: func(_ context.Context, events []event.Event) ([]event.Outcome, error) {
				if !mended.Load() {
					return broken(), nil
				}
				return slices.Repeat([]event.Outcome{event.Applied}, len(events)), nil
			}})
			wait := submit(p, 5)
			synctest.Wait()
			p.Start()
			for id, got := range wait() {
				if !strings.HasPrefix(got, event.ErrUnavailable.Error()) {
					t.Errorf("%s got %q", id, got)
				}
			}
			if outcomes, err := p.SubmitAll(t.Context(), make([]event.Event, 3)); !errors.Is(err, event.ErrUnavailable) || outcomes[2] != event.Unavailable {
				t.Errorf("SubmitAll got %v, %v", outcomes, err)
			}
			mended.Store(true)
			if outcome, err := p.Submit(t.Context(), event.Event{}); outcome != event.Applied {
				t.Errorf("after it: %q, %v", outcome, err)
			}
			p.Shutdown(t.Context())
		}
	})
	if said := log.String(); strings.Contains(said, "bob@example.com") || !strings.Contains(said, "pipeline_test.go") {
		t.Errorf("the log says %s", said)
	}
}

func TestMain(m *testing.M) { pgtest.Main(m) }

// BenchmarkSubmit has many submitters of new users, each waiting for its outcome, before a
// real database without targets. It does not wait for the disk, as every server for tests.
func BenchmarkSubmit(b *testing.B) {
	for _, each := range []int{1, 32} {
		b.Run(fmt.Sprint("perprocessor=", each), func(b *testing.B) { benchmarkSubmit(b, each) })
	}
}

func benchmarkSubmit(b *testing.B, each int) {
	db := must.Get(postgres.Open(postgres.Config{URL: pgtest.New(b), Log: slog.New(slog.DiscardHandler)}))(b)
	b.Cleanup(db.Close)
	must.Get(db.Migrate(b.Context()))(b)
	var batches atomic.Int64
	p := New(Config{Apply: db.Roll().Apply, Observe: func(int, time.Duration) { batches.Add(1) }})
	p.Start()
	b.Cleanup(func() { p.Shutdown(b.Context()) })
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(each)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprint("u", next.Add(1))
			outcome, err := p.Submit(b.Context(), event.Event{
				Source: "app", ID: id, Type: "user.created", Op: event.Upsert, UserID: id, ReceivedAt: time.Now(), Body: []byte("{}"),
				User: &event.User{Row: event.Row{Source: "app", ID: id, Version: 1}, RawUserMetaData: "{}", RawAppMetaData: "{}"},
			})
			if err != nil || outcome != event.Applied {
				b.Errorf("%s: %s, %v", id, outcome, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(batches.Load()), "events/batch")
}

// What waits is counted in both queues, without what is under way; the oldest is the one that waits for the longest.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, p := startGated(Config{Committers: 1, Separate: func(e *event.Event) bool { return e.ID == "e0" }})
		waits := func(events int, oldest time.Duration) {
			t.Helper()
			synctest.Wait()
			gotEvents, gotOldest := p.Waiting()
			if gotEvents != events || gotOldest != oldest {
				t.Errorf("%d events wait, the oldest for %s, want %d and %s", gotEvents, gotOldest, events, oldest)
			}
		}
		waits(0, 0)
		first := submit(p, 2) // one in each pipeline
		waits(0, 0)
		second := submit(p, 5)
		time.Sleep(time.Second)
		third := submit(p, 1) // apart
		waits(6, time.Second)
		close(g.open)
		first()
		second()
		third()
		waits(0, 0)
		p.Shutdown(t.Context())
	})
}
