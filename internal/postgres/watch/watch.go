// Package watch keeps the targets in service in step with what their statements were made for: the applications'
// tables, which change while the service runs, and the configuration, which is reloaded.
//
//	w := watch.New(targets)
//	stop := w.Start(ctx)
//	change, findings, err := w.Reload(ctx, configured)
//
// It hides how a change is noticed, and who may have been written by statements that no longer fit: each process looks
// at the catalog every two seconds, has a target compiled anew whose table has changed, and settles those users again.
package watch

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
)

// The statements; the files describe their parameters.
var (
	//go:embed look_note.sql
	lookNoteSQL string
	//go:embed touched.sql
	touchedSQL string
)

const (
	// lookPause is the pause between two looks: a change is noticed, and its users are settled again,
	// within five seconds.
	lookPause = 2 * time.Second
	// lateWriters is how long after a change users may still be written by the former statements: by a
	// transaction under way (15 s at most), or by a replica that has not looked yet.
	lateWriters = 20 * time.Second
	// notePeriod is how often a look that found nothing new is noted. After a kill, users touched since
	// the last note are settled again.
	notePeriod = time.Minute
	// lookTimeout bounds the questions of a look, for a database that neither answers nor fails;
	// followTimeout what is done about a change.
	lookTimeout, followTimeout = 5 * time.Second, 10 * time.Minute
	// lastLook bounds the look at the end of a command.
	lastLook = 10 * time.Second
	// promptSweeps are done as soon as a change is noticed, and at the next look, for transactions that
	// were under way at the first.
	promptSweeps = 2
	// sweepPage is how many users a sweep settles in one transaction, as many as the largest batch.
	sweepPage = 512
)

// Watch keeps targets in step.
type Watch struct {
	targets     *settle.Targets
	looking     sync.Mutex        // one look at the catalog at a time
	watched     map[string]*table // by target; nil before the first look
	lateWriters time.Duration
}

// New makes a watch that has not looked yet.
func New(targets *settle.Targets) *Watch { return &Watch{targets: targets, lateWriters: lateWriters} }

// table is what is known of a target's table from earlier looks.
type table struct {
	catalog.State
	// settled is the snapshot whose users are all settled by statements that fit the table.
	settled string
	changed time.Time // when a change was noticed whose users are not all settled again; zero for none
	sweeps  int       // since then
	noted   time.Time
}

// Run looks at the targets' tables until the context ends.
func (w *Watch) Run(ctx context.Context) {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	said := ""
	for {
		err := w.Look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			w.targets.Log.Warn("the targets' tables can't be looked at", "error", err)
		}
		said = ""
		if err != nil {
			said = err.Error()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Start watches until stop, which looks once more: whatever was written until then fits its table.
func (w *Watch) Start(ctx context.Context) (stop func()) {
	watching, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(watching)
	}()
	return func() {
		cancel()
		<-ended
		for _, seen := range w.watched {
			seen.sweeps = 0 // nothing is under way any more, so the last sweep finds all
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
		defer cancel()
		if err := w.Look(last); err != nil {
			w.targets.Log.Warn("the targets' tables could not be looked at once more; serve does so", "error", err)
		}
	}
}

// Look compares the targets' tables with what their statements were compiled for. A target whose
// table has changed is compiled anew, in service or not, and the users touched since the last look
// that found no change are settled again. An error means that the next look tries again.
func (w *Watch) Look(ctx context.Context) error {
	w.looking.Lock()
	defer w.looking.Unlock()
	asking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	ts := w.targets
	if err := w.remember(asking); err != nil {
		return fmt.Errorf("read the last looks: %w", ts.Pool.Explain(err))
	}
	states, err := catalog.ReadStates(asking, ts.Pool, ts.Configured()...)
	if err != nil {
		return ts.Pool.Explain(err)
	}
	ctx, cancelFollowing := context.WithTimeout(ctx, followTimeout)
	defer cancelFollowing()
	var failed error
	targets := ts.All()
	if slices.ContainsFunc(targets, func(t *catalog.Compiled) bool { return t.State.Hash != states[t.Name].Hash }) {
		ts.Pool.Reset() // what was prepared on the sessions, and cached in them, was for the former table
	}
	for _, t := range targets {
		if err := w.follow(ctx, t, states[t.Name]); err != nil {
			failed = errors.Join(failed, fmt.Errorf("look at the table of target %s: %w", t.Name, sqlstate.Mask(err)))
		}
	}
	return failed
}

// remember reads what former processes have noted, once.
func (w *Watch) remember(ctx context.Context) error {
	if w.watched != nil {
		return nil
	}
	notes := map[string]*table{}
	rows, _ := w.targets.Pool.Query(ctx, "select target, catalog, seen::text from rollcall.looks")
	var target string
	var s catalog.State
	_, err := pgx.ForEachRow(rows, []any{&target, &s.Hash, &s.Seen}, func() error {
		notes[target] = &table{State: s, settled: s.Seen}
		return nil
	})
	if err == nil {
		w.watched = notes
	}
	return err
}

// follow acts on what a look says about one target.
func (w *Watch) follow(ctx context.Context, t *catalog.Compiled, now catalog.State) error {
	seen := w.watched[t.Name]
	if seen == nil {
		seen = &table{State: t.State, settled: t.State.Seen}
		w.watched[t.Name] = seen
	}
	stale := t.State.Hash != now.Hash
	if seen.Hash != now.Hash {
		w.targets.Log.Warn("the table of a target has changed; users written since are settled again",
			"target", t.Name, "table", t.Table, "changes", seen.ChangesTo(now),
			"earlier_rows", "keep their values; rollcall check --repair renews the columns of set")
	}
	if stale || seen.Hash != now.Hash {
		seen.changed, seen.sweeps = time.Now(), 0
	}
	seen.State = now
	if stale {
		if err := w.targets.Renew(ctx, t); err != nil {
			return err
		}
	}
	return w.settleAgain(ctx, seen, t.Name)
}

// settleAgain settles the users of a changed table who were touched since it was last seen as it
// was. While the target is out of service, they wait; so does everything until the statements fit
// what the look has seen.
func (w *Watch) settleAgain(ctx context.Context, seen *table, target string) error {
	t := w.targets.Named(target)
	late := time.Since(seen.changed) > w.lateWriters
	switch {
	case seen.changed.IsZero():
		seen.settled = seen.Seen
		return w.noteLook(ctx, seen, target)
	case t.Outage != nil || t.State.Hash != seen.Hash:
		return nil
	case seen.sweeps >= promptSweeps && !late:
		return nil
	}
	users, err := w.sweep(ctx, t, seen.settled)
	if users > 0 && seen.sweeps == 0 { // the next sweeps find the same users again: this one locked them
		w.targets.Log.Info("settled users again after a change of the table", "target", target, "users", users)
	}
	if settle.FailedFor(err, settle.OutOfService) {
		return nil
	}
	if err != nil {
		return err
	}
	seen.settled, seen.sweeps = seen.Seen, seen.sweeps+1
	if !late {
		return nil
	}
	seen.changed, seen.noted = time.Time{}, time.Time{}
	return w.noteLook(ctx, seen, target)
}

// noteLook notes, once in notePeriod, how far everything is settled, for a start after a kill.
func (w *Watch) noteLook(ctx context.Context, seen *table, target string) error {
	if time.Since(seen.noted) < notePeriod {
		return nil
	}
	_, err := w.targets.Pool.Exec(ctx, lookNoteSQL, target, seen.Hash, seen.settled)
	if err == nil {
		seen.noted = time.Now()
	}
	return err
}

// sweep settles the users of a target who were touched since a snapshot, and returns how many. It
// reads all their keys first: while it settles, it needs no second connection of a small pool.
func (w *Watch) sweep(ctx context.Context, t *catalog.Compiled, since string) (int, error) {
	var users []settle.Key
	err := w.targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, settle.On(t.Roll, touchedSQL), t.Sources(), since, t.Name)
		var err error
		users, err = settle.CollectKeys(rows, t.Roll)
		return err
	})
	if err != nil {
		return 0, err
	}
	for page := range slices.Chunk(users, sweepPage) {
		if err := w.targets.Settle(ctx, t, page); err != nil {
			return 0, err
		}
	}
	return len(users), nil
}
