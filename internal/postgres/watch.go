package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
	"rollcall/sql"
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
	catalogState
	// settled is the snapshot whose users are all settled by statements that fit the table.
	settled string
	changed time.Time // when a change was noticed whose users are not all settled again; zero for none
	sweeps  int       // since then
	noted   time.Time
}

// compileTarget compiles a target and notes what the catalog said just before.
func compileTarget(ctx context.Context, conn *pgx.Conn, t *target.Target) (*compiled, []target.Finding, error) {
	states, err := readCatalog(ctx, conn, *t)
	if err != nil {
		return nil, nil, err
	}
	c, found, err := checkTarget(ctx, conn, t)
	if c != nil {
		c.state = states[t.Name]
	}
	return c, found, err
}

// Watch looks at the targets' tables until the context ends.
func (db *DB) Watch(ctx context.Context) {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	said := ""
	for {
		err := db.Look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			db.log.Warn("the targets' tables can't be looked at", "error", err)
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
func (db *DB) StartWatch(ctx context.Context) (stop func()) {
	watching, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		db.Watch(watching)
	}()
	return func() {
		cancel()
		<-ended
		for _, w := range db.watched {
			w.sweeps = 0 // nothing is under way any more, so the last sweep finds all
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
		defer cancel()
		if err := db.Look(last); err != nil {
			db.log.Warn("the targets' tables could not be looked at once more; serve does so", "error", err)
		}
	}
}

// Look compares the targets' tables with what their statements were compiled for. A target whose
// table has changed is compiled anew, in service or not, and the users touched since the last look
// that found no change are settled again. An error means that the next look tries again.
func (db *DB) Look(ctx context.Context) error {
	db.looking.Lock()
	defer db.looking.Unlock()
	asking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := db.remember(asking); err != nil {
		return fmt.Errorf("read the last looks: %w", db.pool.Explain(err))
	}
	states, err := readCatalog(asking, db.pool, db.config.Targets...)
	if err != nil {
		return db.pool.Explain(err)
	}
	ctx, cancelFollowing := context.WithTimeout(ctx, followTimeout)
	defer cancelFollowing()
	var failed error
	targets := *db.targets.Load()
	if slices.ContainsFunc(targets, func(t *compiled) bool { return t.state.hash != states[t.Name].hash }) {
		db.pool.Reset() // what was prepared on the sessions, and cached in them, was for the former table
	}
	for _, t := range targets {
		if err := db.follow(ctx, t, states[t.Name]); err != nil {
			failed = errors.Join(failed, fmt.Errorf("look at the table of target %s: %w", t.Name, sqlstate.Mask(err)))
		}
	}
	return failed
}

// remember reads what former processes have noted, once.
func (db *DB) remember(ctx context.Context) error {
	if db.watched != nil {
		return nil
	}
	notes := map[string]*watched{}
	rows, _ := db.pool.Query(ctx, "select target, catalog, seen::text from rollcall.looks")
	var target string
	var s catalogState
	_, err := pgx.ForEachRow(rows, []any{&target, &s.hash, &s.seen}, func() error {
		notes[target] = &watched{catalogState: s, settled: s.seen}
		return nil
	})
	if err == nil {
		db.watched = notes
	}
	return err
}

// follow acts on what a look says about one target.
func (db *DB) follow(ctx context.Context, t *compiled, now catalogState) error {
	w := db.watched[t.Name]
	if w == nil {
		w = &watched{catalogState: t.state, settled: t.state.seen}
		db.watched[t.Name] = w
	}
	stale := t.state.hash != now.hash
	if w.hash != now.hash {
		db.log.Warn("the table of a target has changed; users written since are settled again",
			"target", t.Name, "table", t.Table, "changes", w.changesTo(now),
			"earlier_rows", "keep their values; rollcall check --repair renews the columns of set")
	}
	if stale || w.hash != now.hash {
		w.changed, w.sweeps = time.Now(), 0
	}
	w.catalogState = now
	if stale {
		if err := db.probe(ctx, t); err != nil {
			return err
		}
	}
	return db.settleAgain(ctx, w, t.Name)
}

// settleAgain settles the users of a changed table who were touched since it was last seen as it
// was. While the target is out of service, they wait; so does everything until the statements fit
// what the look has seen.
func (db *DB) settleAgain(ctx context.Context, w *watched, target string) error {
	t := db.targetNamed(target)
	late := time.Since(w.changed) > db.lateWriters
	switch {
	case w.changed.IsZero():
		w.settled = w.seen
		return db.noteLook(ctx, w, target)
	case t.outage != nil || t.state.hash != w.hash:
		return nil
	case w.sweeps >= promptSweeps && !late:
		return nil
	}
	users, err := db.sweep(ctx, t, w.settled)
	if users > 0 && w.sweeps == 0 { // the next sweeps find the same users again: this one locked them
		db.log.Info("settled users again after a change of the table", "target", target, "users", users)
	}
	if failedFor(err, outOfService) {
		return nil
	}
	if err != nil {
		return err
	}
	w.settled, w.sweeps = w.seen, w.sweeps+1
	if !late {
		return nil
	}
	w.changed, w.noted = time.Time{}, time.Time{}
	return db.noteLook(ctx, w, target)
}

// noteLook notes, once in notePeriod, how far everything is settled, for a start after a kill.
func (db *DB) noteLook(ctx context.Context, w *watched, target string) error {
	if time.Since(w.noted) < notePeriod {
		return nil
	}
	_, err := db.pool.Exec(ctx, sql.LookNote, target, w.hash, w.settled)
	if err == nil {
		w.noted = time.Now()
	}
	return err
}

// sweep settles the users of a target who were touched since a snapshot, and returns how many. It
// reads all their keys first: while it settles, it needs no second connection of a small pool.
func (db *DB) sweep(ctx context.Context, t *compiled, since string) (int, error) {
	var users []userKey
	err := db.pool.Scan(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sql.Touched, t.Sources(), since)
		var err error
		users, err = collectKeys(rows)
		return err
	})
	if err != nil {
		return 0, err
	}
	for page := range slices.Chunk(users, catchUpPage) {
		if err := db.settle(ctx, t, page); err != nil {
			return 0, err
		}
	}
	return len(users), nil
}
