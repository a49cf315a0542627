package backfill

import (
	"cmp"
	"context"
	"sync"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
)

// walk is the visit to all users of one source, in key order, by several walkers at once.
type walk struct {
	*run
	mu     sync.Mutex // guards all below, and the backfill with its connection
	source string
	taken  string  // the last user that a walker has taken care of
	ahead  []*page // in key order, the first of them not yet visited
	noted  time.Time
	err    error
}

// page is the users that one transaction settles.
type page struct {
	settle.Span
	users   int64
	visited bool
}

// walk visits all users.
func (f *run) walk(ctx context.Context) error {
	for _, source := range f.sources {
		if source < f.last.Source {
			continue
		}
		if source > f.last.Source {
			f.last = settle.Key{Source: source}
		}
		w := &walk{run: f, source: source, taken: f.last.ID}
		var walking sync.WaitGroup
		for range walkers {
			walking.Go(func() { w.visit(ctx) })
		}
		walking.Wait()
		if err := f.note(context.WithoutCancel(ctx), false); err != nil || w.err != nil {
			return cmp.Or(w.err, err)
		}
	}
	return nil
}

// visit takes page after page until there is none. When the context ends, or another walker
// has failed, the page under way is the last.
func (w *walk) visit(ctx context.Context) {
	whole := context.WithoutCancel(ctx)
	for p := w.next(ctx); p != nil; p = w.next(ctx) {
		start := time.Now()
		err := w.settle(whole, p.Span)
		w.arrived(whole, p, time.Since(start), err)
	}
}

// next takes the next page; nil when there is nothing more to do.
func (w *walk) next(ctx context.Context) *page {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = ctx.Err()
	}
	p := &page{Span: settle.Span{Source: w.source, After: w.taken}}
	if w.err == nil {
		w.err = w.conn.QueryRow(context.WithoutCancel(ctx), settle.On(w.target.Roll, pageSQL), w.source, w.taken, w.pace.Users()).Scan(&p.users, &p.To)
	}
	if w.err != nil || p.users == 0 {
		return nil
	}
	w.taken = p.To
	w.ahead = append(w.ahead, p)
	return p
}

// arrived notes that a page is visited, or why not.
func (w *walk) arrived(ctx context.Context, p *page, took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = cmp.Or(w.err, err)
		return
	}
	w.pace.Took(took)
	p.visited = true
	for len(w.ahead) > 0 && w.ahead[0].visited {
		w.last.ID = w.ahead[0].To
		w.done.Visited += w.ahead[0].users
		w.ahead = w.ahead[1:]
	}
	w.report()
	if time.Since(w.noted) > notePause {
		w.err = cmp.Or(w.err, w.note(ctx, false))
		w.noted = time.Now()
	}
}

// settle settles a span; where the target refuses a user, each by itself. Memberships always go by key: a span locks
// no organisations, so it can't tell which of two memberships is the newest of its pair.
func (w *walk) settle(ctx context.Context, s settle.Span) error {
	if w.target.Roll != &event.Memberships {
		if err := w.fill(ctx, s); err == nil {
			return nil
		}
	}
	const within = "select source, id from rollcall.users where source = $1 and id > $2 and id <= $3"
	rows, _ := w.targets.Pool.Query(ctx, settle.On(w.target.Roll, within), s.Source, s.After, s.To)
	users, err := settle.CollectKeys(rows, w.target.Roll)
	if err != nil {
		return err
	}
	return w.targets.Settle(ctx, w.target, users)
}

// fill settles a span as a whole. A table that was empty when the backfill began takes plain inserts, unless a live
// event or the application was there before.
func (w *walk) fill(ctx context.Context, s settle.Span) error {
	w.mu.Lock()
	empty := w.misses < maxMisses && w.target.Match == nil // else there are rows to take over
	w.mu.Unlock()
	if !empty {
		return w.targets.SettleSpan(ctx, w.target, s)
	}
	err := w.targets.FillSpan(ctx, w.target, s)
	missed := sqlstate.Of(err) == sqlstate.UniqueViolation
	w.mu.Lock()
	if missed {
		w.misses++
	} else {
		w.misses = 0
	}
	w.mu.Unlock()
	if missed {
		return w.targets.SettleSpan(ctx, w.target, s)
	}
	return err
}
