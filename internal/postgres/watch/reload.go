package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

// Change is how another set of targets differs from the one before, by name.
type Change struct {
	Added   []string `json:"added"`
	Changed []string `json:"changed"`
	Removed []string `json:"removed"`
}

// ErrUnfit means that a target that is new or changed does not fit its table; the findings say why.
var ErrUnfit = errors.New("a target does not fit its table")

// lookRetry is the pause between two tries to keep the looks at the catalog out.
const lookRetry = 20 * time.Millisecond

// Reload puts other targets in the place of the present ones, all of them or none. What is new or changed is checked
// as Targets.Check does, and must fit its table; the rest stays as it is, in service or not. A transaction ends with
// the targets that it began with.
func (w *Watch) Reload(ctx context.Context, configured []target.Target) (Change, []target.Finding, error) {
	for !w.looking.TryLock() { // a look compares what is configured with what is compiled
		if err := connection.Pause(ctx, lookRetry); err != nil {
			return Change{}, nil, fmt.Errorf("wait for a look at the targets' tables: %w", err)
		}
	}
	defer w.looking.Unlock()
	change := w.changeTo(configured)
	fresh := slices.DeleteFunc(slices.Clone(configured), func(t target.Target) bool {
		return !slices.Contains(change.Added, t.Name) && !slices.Contains(change.Changed, t.Name)
	})
	if len(fresh) == 0 { // the database may be away
		return change, nil, w.targets.Exchange(ctx, configured, nil)
	}
	compiled, found, err := w.targets.Compile(ctx, fresh)
	if err != nil {
		return Change{}, nil, err
	}
	if len(target.Faults(found)) > 0 {
		return Change{}, found, ErrUnfit
	}
	if err := w.targets.Exchange(ctx, configured, compiled); err != nil {
		return Change{}, nil, err
	}
	for _, t := range compiled {
		delete(w.watched, t.Name)
	}
	return change, found, nil
}

// changeTo compares sets of targets.
func (w *Watch) changeTo(configured []target.Target) Change {
	c := Change{[]string{}, []string{}, []string{}}
	before := w.targets.Configured()
	at := func(list []target.Target, name string) int {
		return slices.IndexFunc(list, func(t target.Target) bool { return t.Name == name })
	}
	for i := range configured {
		t := &configured[i]
		switch was := at(before, t.Name); {
		case was < 0:
			c.Added = append(c.Added, t.Name)
		case !before[was].Alike(t) || w.targets.Named(t.Name) == nil:
			c.Changed = append(c.Changed, t.Name)
		}
	}
	for i := range before {
		if at(configured, before[i].Name) < 0 {
			c.Removed = append(c.Removed, before[i].Name)
		}
	}
	return c
}

// Forget deletes what is noted of targets that are configured nowhere any more: their parked users, how far they were
// filled, what a check has counted. A target of that name is new then.
func (w *Watch) Forget(ctx context.Context, names []string) error {
	return pgx.BeginFunc(ctx, w.targets.Pool, func(tx pgx.Tx) error {
		for _, table := range []string{"parked", "backfills", "looks", "checks"} {
			if _, err := tx.Exec(ctx, "delete from rollcall."+table+" where target = any($1)", names); err != nil {
				return err
			}
		}
		return nil
	})
}
