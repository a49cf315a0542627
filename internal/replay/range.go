package replay

import (
	"context"
	"errors"
	"fmt"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/history"
)

// Range is a replay of the events that a filter chooses.
type Range struct {
	// Filter chooses them; its Until is the end, so that events that arrive meanwhile do not count.
	Filter history.Filter
	// Asked says what was asked for. A run that was interrupted goes on where it was if the same is asked for within
	// six hours of its beginning, in the range of then.
	Asked string
	// Each is handed the results of every page; may be nil.
	Each func([]Result) error
	// Progress is told how many events are done; may be nil.
	Progress func(done, total int64)
}

// Tally counts the events of a range by what became of them.
type Tally struct {
	Events int64 `json:"events"`
	// Resumed are those of them that an earlier run has replayed, which was interrupted.
	Resumed int64            `json:"resumed"`
	Became  map[string]int64 `json:"became"`
	// WithoutBody are those that have none.
	WithoutBody int64 `json:"without_body"`
}

// pageEvents is how many events are read together, as many as the largest batch.
const pageEvents = 512

// withoutBody is where Run.Counts has Tally.WithoutBody.
const withoutBody = "without_body"

// ErrRunning means that another process replays the same range.
var ErrRunning = errors.New("another process replays the same events")

// Range replays the events of a range in the order of their arrival, a page at a time. After each page it notes how
// far it is, so that an interrupted range goes on there. While another process replays the range, the error is
// ErrRunning.
func (r Replay) Range(ctx context.Context, g Range) (Tally, error) {
	lock, err := r.DB.Pool().TryLock(ctx, "replay "+g.Asked)
	if errors.Is(err, connection.ErrRunning) {
		return Tally{}, fmt.Errorf("%w: %w", ErrRunning, err)
	}
	if err != nil {
		return Tally{}, fmt.Errorf("replay events: %w", err)
	}
	defer lock.Release()
	run := history.Run{Asked: g.Asked, Since: g.Filter.Since, Until: g.Filter.Until}
	if run, err = r.DB.History().BeginRun(ctx, run); err != nil {
		return Tally{}, err
	}
	g.Filter.Since, g.Filter.Until = run.Since, run.Until
	resumed := tallyOf(&run).Events
	err = lock.During(ctx, func(ctx context.Context) error { return r.run(ctx, &g, &run) })
	t := tallyOf(&run)
	t.Resumed = resumed
	return t, err
}

func (r Replay) run(ctx context.Context, g *Range, run *history.Run) error {
	total, err := r.DB.History().Count(ctx, g.Filter)
	if err != nil {
		return err
	}
	for {
		page, err := r.DB.History().List(ctx, g.Filter, history.Paging{Order: history.OldestFirst, Limit: pageEvents, After: run.Position})
		if err != nil {
			return err
		}
		results, err := r.Events(ctx, page.Events)
		if err != nil {
			return err
		}
		for i := range results {
			run.Counts[string(results[i].Became)]++
			if results[i].Bytes == nil {
				run.Counts[withoutBody]++
			}
		}
		run.Position = page.Next
		if err := r.DB.History().NoteRun(ctx, *run); err != nil {
			return err
		}
		if g.Each != nil {
			if err := g.Each(results); err != nil {
				return err
			}
		}
		if g.Progress != nil {
			g.Progress(tallyOf(run).Events, max(total, tallyOf(run).Events))
		}
		if page.Next == "" {
			return nil
		}
	}
}

// DryRange is DryRun for the events that a filter chooses, a page at a time; each is called with what every page
// would do, and an error of it ends the range. No page sees what an earlier one would have brought.
func (r Replay) DryRange(ctx context.Context, f history.Filter, each func(*Foreseen) error) error {
	for after, more := "", true; more; more = after != "" {
		page, err := r.DB.History().List(ctx, f, history.Paging{Order: history.OldestFirst, Limit: pageEvents, After: after})
		if err != nil {
			return err
		}
		foreseen, err := r.DryRun(ctx, page.Events)
		if err == nil {
			err = each(foreseen)
		}
		if err != nil {
			return err
		}
		after = page.Next
	}
	return nil
}

func tallyOf(run *history.Run) Tally {
	t := Tally{Became: map[string]int64{}}
	for name, n := range run.Counts {
		if name == withoutBody {
			t.WithoutBody = n
			continue
		}
		t.Became[name] = n
		t.Events += n
	}
	return t
}
