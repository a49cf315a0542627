package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/source"
)

// paged is a userList of which only the pages are read.
type paged struct {
	userList
	page func(ctx context.Context) (part, error)
}

func (p paged) next(ctx context.Context) (part, error) { return p.page(ctx) }

// steps returns a way to begin runs that only compare.
func steps(t *testing.T) func(page func(context.Context) (part, error), submit func(context.Context, []event.Event) ([]event.Outcome, error)) *run {
	t.Helper()
	db := fixture.Supabase(t).Start(postgres.Config{}).DB
	src := fixture.Source(t, source.Supabase)
	return func(page func(context.Context) (part, error), submit func(context.Context, []event.Event) ([]event.Outcome, error)) *run {
		record := must.Get(db.Directory().BeginRun(t.Context(), "supabase", "made up"))(t)
		return &run{Config: Config{Source: src, DB: db, Submit: submit, Log: slog.New(slog.DiscardHandler)}, Run: record, Stage: &record.Users, kind: users, from: paged{page: page}}
	}
}

// newcomer is a user that the roll does not know.
var newcomer = []directory.Pair{{ID: "a", Row: []byte(`{"id":"00000000-0000-4000-8000-000000000001"}`), At: time.Unix(1, 0)}}

// A run that is stopped is gone on with behind a page whose users are in the roll, however far it
// has read.
func TestStoppedRunSkipsNoUser(t *testing.T) {
	t.Parallel()
	begin := steps(t)
	for range 100 {
		ctx, stop := context.WithCancel(t.Context())
		n, saved := 0, make(chan struct{}, 4)
		r := begin(func(context.Context) (part, error) {
			n++
			p := part{position: strconv.Itoa(n), end: n == 4}
			if n > 1 {
				time.Sleep(time.Millisecond) // the other steps wait for this page
			}
			if n == 2 {
				p.pairs = newcomer
				<-saved
				stop()
			}
			return p, nil
		}, func(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
			if len(events) > 0 {
				return nil, ctx.Err()
			}
			return nil, nil
		})
		r.Position = "" // of the run before
		r.Progress = func(*event.Roll, int64, int64) { saved <- struct{}{} }
		must.Fail(t, r.compare(ctx), context.Canceled)
		if r.Position > "1" {
			t.Fatalf("page 2 was not submitted, and the run would go on behind page %s", r.Position)
		}
		r.Release()
	}
}

// Who is compared with has nothing to do with a run any more that has ended: another may have
// begun.
func TestFailedRunReadsNoFurther(t *testing.T) {
	t.Parallel()
	began, refused := make(chan struct{}), errors.New("made up")
	var reading atomic.Bool
	first := true
	r := steps(t)(func(ctx context.Context) (part, error) {
		if first {
			first = false
			return part{pairs: newcomer}, nil
		}
		reading.Store(true)
		defer reading.Store(false)
		close(began)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond)
		return part{}, ctx.Err()
	}, func(context.Context, []event.Event) ([]event.Outcome, error) {
		<-began
		return nil, refused
	})
	defer r.Release()
	must.Fail(t, r.compare(t.Context()), refused)
	if reading.Load() {
		t.Error("it still reads")
	}
}
