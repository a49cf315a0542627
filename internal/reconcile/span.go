package reconcile

import (
	"context"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/settle"
)

// spanUsers is how many users are brought in at once: more are no faster, and live events about them wait for
// as long as it takes.
const spanUsers = 1000

// span is users of a table of whom the roll knew none: a first reconciliation meets hardly anybody else.
type span struct {
	directory.Strangers // who are not in the roll yet
	table               *table
	done                chan struct{} // closed when it is over; nil before it has begun
	tally               directory.Reconciled
	refused             error
}

// spanTimeout frees a run from a database that neither answers nor fails.
const spanTimeout = 15 * time.Second

// begin brings the users of a span, which may be nil, into the roll. When the context ends, those under way are
// finished first, so that they are counted.
func (s *span) begin(ctx context.Context, cfg Config) {
	if s == nil {
		return
	}
	s.done = make(chan struct{})
	if s.refused = ctx.Err(); s.refused != nil {
		close(s.done)
		return
	}
	go func() {
		defer close(s.done)
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), spanTimeout)
		defer cancel()
		s.refused = event.Safely(func() error { return s.bring(whole, cfg) })
	}()
}

func (s *span) bring(ctx context.Context, cfg Config) error {
	for s.After != s.Last {
		b, err := cfg.DB.Roll().Bring(ctx, settle.Span{Source: cfg.Source.Name(), After: s.After, To: s.Last}, s.Users)
		if err != nil {
			return err
		}
		s.tally.Created += b.Created
		s.tally.Unchanged += b.Known
		if s.After = b.Last; s.After == "" { // those who were left are gone
			s.After = s.Last
		}
	}
	return nil
}

// brought reports whether there is a span, and it is in the roll.
func (s *span) brought() bool {
	s.await()
	return s != nil && s.refused == nil
}

// await waits until a span is over.
func (s *span) await() {
	if s != nil {
		<-s.done
	}
}

// bring adds what has become of a span. Where it was refused as a whole, its users are looked at one by one.
func (r *run) bring(ctx context.Context, f *findings) error {
	if f.span == nil {
		return nil
	}
	f.span.await()
	f.others = f.span.tally
	if f.span.refused == nil {
		return nil
	}
	r.Log.Debug("users are brought in one by one", "source", r.Source.Name(), "after", f.span.After, "error", f.span.refused)
	f.span.table.strange.Store(false)
	ids, at, err := f.span.table.users.IDs(ctx, f.span.Strangers)
	if err != nil {
		return err
	}
	for _, id := range ids {
		f.events = append(f.events, r.look(id, at, "reconciled"))
		f.verdicts = append(f.verdicts, Create)
	}
	return nil
}
