package replay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
)

// Trial is what an event that is not recorded would do.
type Trial struct {
	Became event.Outcome
	// Reason says why, where that is not plain.
	Reason  string
	Changes []Change
	// Refused says why, by target, of which rows would be parked.
	Refused map[string]string
	// Unread says why, by target, of which the rows can't be read.
	Unread map[string]string
	rows   *settle.DryRun
}

// Try does what a webhook with an event does, in a transaction that is rolled back.
func (r Replay) Try(ctx context.Context, e event.Event) (*Trial, error) {
	t := &Trial{Became: event.Ignored, Reason: e.Reason, Changes: []Change{}, Refused: map[string]string{}, Unread: map[string]string{}, rows: &settle.DryRun{}}
	if e.Op == event.Ignore {
		return t, nil
	}
	var why atomic.Pointer[string]
	e.Explain = func(reason string) { why.Store(&reason) }
	var err error
	t.rows, err = r.DB.Targets().DryRun(ctx, func(undone *settle.Targets) error {
		outcomes, err := r.DB.Roll().On(undone).Apply(ctx, []event.Event{e})
		if err == nil {
			t.Became = outcomes[0]
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("try an event of %s: %w", e.Source, err)
	}
	if said := why.Load(); said != nil && t.Reason == "" {
		t.Reason = *said
	}
	t.Unread = t.rows.Unread
	for i := range t.rows.Refused {
		f := &t.rows.Refused[i]
		t.Refused[f.Target()] = f.Words()
	}
	t.Changes, err = r.changesOf(t.rows)
	return t, err
}

// Since are the changes of the rows of a trial since then, by whatever has changed them: by the event, if it has
// arrived meanwhile.
func (r Replay) Since(ctx context.Context, t *Trial) ([]Change, error) {
	now, err := r.DB.Targets().Since(ctx, t.rows)
	if err != nil {
		return nil, fmt.Errorf("read the rows after an event: %w", err)
	}
	maps.Copy(now.Unread, t.Unread)
	return r.changesOf(now)
}

// changesOf are the rows that differ before and after.
func (r Replay) changesOf(dry *settle.DryRun) ([]Change, error) {
	changes := []Change{}
	for i := range dry.Rows {
		c, err := r.changeOf(&dry.Rows[i])
		if err != nil {
			return nil, err
		}
		if dry.Unread[c.Target] == "" {
			changes = append(changes, c)
		}
	}
	return slices.DeleteFunc(changes, func(c Change) bool { return len(c.Columns) == 0 }), nil
}
