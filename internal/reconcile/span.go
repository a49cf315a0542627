package reconcile

import (
	"context"
	"slices"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
)

const (
	// broughtUsers is how many users a span has that is brought in.
	broughtUsers = 1000
	// bringTimeout frees a run from a database that neither answers nor fails.
	bringTimeout = 15 * time.Second
)

// span is a stretch of a table that is compared, or brought in as a whole where the roll knows none of its users,
// as a first reconciliation meets them. Two are under way at a time: PostgreSQL takes a processor for each.
type span struct {
	directory.Stretch // what is left of it
	table             *table
	done              chan struct{} // closed when it is over
	compared          []directory.Compared
	tally             directory.Reconciled // of users who were brought in
	failed            error
}

// begin begins with a span, which may be nil. When the context ends, those who are being brought in are finished
// first, so that they are counted.
func (s *span) begin(ctx context.Context, cfg Config) {
	if s == nil {
		return
	}
	s.done = make(chan struct{})
	if s.failed = ctx.Err(); s.failed != nil {
		close(s.done)
		return
	}
	go func() {
		defer close(s.done)
		s.failed = event.Safely(func() error {
			if !s.Unknown {
				return s.compare(ctx)
			}
			whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), bringTimeout)
			defer cancel()
			return s.bring(whole, cfg)
		})
	}()
}

func (s *span) compare(ctx context.Context) error {
	for s.After != s.Last {
		page, err := s.table.users.Compare(ctx, s.After, s.Last, tablePage)
		if err != nil {
			return err
		}
		s.compared = append(s.compared, page)
		s.After = page.Last
	}
	s.table.unknown.Store(!slices.ContainsFunc(s.compared, hasKnown))
	return nil
}

// hasKnown reports whether the roll has a user of a page.
func hasKnown(page directory.Compared) bool {
	known := func(d directory.Differing) bool { return d.Verdict != directory.Created }
	return page.Same > 0 || slices.ContainsFunc(page.Differing, known)
}

func (s *span) bring(ctx context.Context, cfg Config) error {
	for s.After != s.Last {
		b, err := cfg.DB.Roll().Bring(ctx, cfg.Source.Name(), s.Stretch)
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

// brought reports whether there is a span, and its users are in the roll.
func (s *span) brought() bool {
	s.await()
	return s != nil && s.Unknown && s.failed == nil
}

// await waits until a span is over.
func (s *span) await() {
	if s != nil {
		<-s.done
	}
}

// arrived waits for a span and adds what has become of it. If the roll or a target has refused to bring its users in
// as a whole, they are looked at one by one.
func (r *run) arrived(ctx context.Context, f *findings) error {
	s := f.span
	if s == nil {
		return nil
	}
	s.await()
	f.others.Created, f.others.Unchanged = s.tally.Created, s.tally.Unchanged
	for _, page := range s.compared {
		more := r.sift(part{compared: page})
		f.events, f.verdicts = append(f.events, more.events...), append(f.verdicts, more.verdicts...)
		f.others.Unchanged += more.others.Unchanged
	}
	if s.failed == nil || !s.Unknown {
		return s.failed
	}
	r.Log.Debug("users are written one by one", "source", r.Source.Name(), "after", s.After, "error", s.failed)
	s.table.unknown.Store(false)
	ids, at, err := s.table.users.IDs(ctx, s.Stretch)
	if err != nil {
		return err
	}
	for _, id := range ids {
		f.events, f.verdicts = append(f.events, r.look(id, at, "reconciled")), append(f.verdicts, Create)
	}
	return nil
}
