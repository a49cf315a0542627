package settle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/sqlstate"
)

// Tables change while their targets are in service. Each process looks at the catalog every
// two seconds, compiles a target anew whose table has changed, and settles again the users who
// may have been written by the former statements.

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
)

// watched is what is known of a target's table from earlier looks.
type watched struct {
	catalog.State
	// settled is the snapshot whose users are all settled by statements that fit the table.
	settled string
	changed time.Time // when a change was noticed whose users are not all settled again; zero for none
	sweeps  int       // since then
	noted   time.Time
}

// Watch looks at the targets' tables until the context ends.
func (ts *Targets) Watch(ctx context.Context) {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	said := ""
	for {
		err := ts.Look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			ts.Log.Warn("the targets' tables can't be looked at", "error", err)
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

// StartWatch watches until stop, which looks once more: whatever was written until then fits its table.
func (ts *Targets) StartWatch(ctx context.Context) (stop func()) {
	watching, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ts.Watch(watching)
	}()
	return func() {
		cancel()
		<-ended
		for _, w := range ts.watched {
			w.sweeps = 0 // nothing is under way any more, so the last sweep finds all
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
		defer cancel()
		if err := ts.Look(last); err != nil {
			ts.Log.Warn("the targets' tables could not be looked at once more; serve does so", "error", err)
		}
	}
}

// Look compares the targets' tables with what their statements were compiled for. A target whose
// table has changed is compiled anew, in service or not, and the users touched since the last look
// that found no change are settled again. An error means that the next look tries again.
func (ts *Targets) Look(ctx context.Context) error {
	ts.looking.Lock()
	defer ts.looking.Unlock()
	asking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := ts.remember(asking); err != nil {
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
		if err := ts.follow(ctx, t, states[t.Name]); err != nil {
			failed = errors.Join(failed, fmt.Errorf("look at the table of target %s: %w", t.Name, sqlstate.Mask(err)))
		}
	}
	return failed
}

// remember reads what former processes have noted, once.
func (ts *Targets) remember(ctx context.Context) error {
	if ts.watched != nil {
		return nil
	}
	notes := map[string]*watched{}
	rows, _ := ts.Pool.Query(ctx, "select target, catalog, seen::text from rollcall.looks")
	var target string
	var s catalog.State
	_, err := pgx.ForEachRow(rows, []any{&target, &s.Hash, &s.Seen}, func() error {
		notes[target] = &watched{State: s, settled: s.Seen}
		return nil
	})
	if err == nil {
		ts.watched = notes
	}
	return err
}

// follow acts on what a look says about one target.
func (ts *Targets) follow(ctx context.Context, t *catalog.Compiled, now catalog.State) error {
	w := ts.watched[t.Name]
	if w == nil {
		w = &watched{State: t.State, settled: t.State.Seen}
		ts.watched[t.Name] = w
	}
	stale := t.State.Hash != now.Hash
	if w.Hash != now.Hash {
		ts.Log.Warn("the table of a target has changed; users written since are settled again",
			"target", t.Name, "table", t.Table, "changes", w.ChangesTo(now),
			"earlier_rows", "keep their values; rollcall check --repair renews the columns of set")
	}
	if stale || w.Hash != now.Hash {
		w.changed, w.sweeps = time.Now(), 0
	}
	w.State = now
	if stale {
		if err := ts.Renew(ctx, t); err != nil {
			return err
		}
	}
	return ts.settleAgain(ctx, w, t.Name)
}

// settleAgain settles the users of a changed table who were touched since it was last seen as it
// was. While the target is out of service, they wait; so does everything until the statements fit
// what the look has seen.
func (ts *Targets) settleAgain(ctx context.Context, w *watched, target string) error {
	t := ts.Named(target)
	late := time.Since(w.changed) > ts.lateWriters
	switch {
	case w.changed.IsZero():
		w.settled = w.Seen
		return ts.noteLook(ctx, w, target)
	case t.Outage != nil || t.State.Hash != w.Hash:
		return nil
	case w.sweeps >= promptSweeps && !late:
		return nil
	}
	users, err := ts.sweep(ctx, t, w.settled)
	if users > 0 && w.sweeps == 0 { // the next sweeps find the same users again: this one locked them
		ts.Log.Info("settled users again after a change of the table", "target", target, "users", users)
	}
	if FailedFor(err, outOfService) {
		return nil
	}
	if err != nil {
		return err
	}
	w.settled, w.sweeps = w.Seen, w.sweeps+1
	if !late {
		return nil
	}
	w.changed, w.noted = time.Time{}, time.Time{}
	return ts.noteLook(ctx, w, target)
}

// noteLook notes, once in notePeriod, how far everything is settled, for a start after a kill.
func (ts *Targets) noteLook(ctx context.Context, w *watched, target string) error {
	if time.Since(w.noted) < notePeriod {
		return nil
	}
	_, err := ts.Pool.Exec(ctx, lookNoteSQL, target, w.Hash, w.settled)
	if err == nil {
		w.noted = time.Now()
	}
	return err
}

// sweep settles the users of a target who were touched since a snapshot, and returns how many. It
// reads all their keys first: while it settles, it needs no second connection of a small pool.
func (ts *Targets) sweep(ctx context.Context, t *catalog.Compiled, since string) (int, error) {
	var users []Key
	err := ts.Pool.Scan(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, On(t.Roll, touchedSQL), t.Sources(), since)
		var err error
		users, err = CollectKeys(rows, t.Roll)
		return err
	})
	if err != nil {
		return 0, err
	}
	for page := range slices.Chunk(users, catchUpPage) {
		if err := ts.Settle(ctx, t, page); err != nil {
			return 0, err
		}
	}
	return len(users), nil
}
