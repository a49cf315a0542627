// Package backfill fills a target from the roll, beside live traffic. It hides the spans of users, the sessions that
// settle them, and where an interrupted run continues:
//
//	result, err := (&backfill.Backfills{Targets: targets}).Run(ctx, "profiles", nil)
package backfill

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// Backfills fills targets from the roll.
type Backfills struct{ Targets *settle.Targets }

// Result is what a backfill has done.
type Result struct {
	Visited int64 // users, with those of the interrupted runs that this one went on from
	Resumed int64 // how many of them were visited by the interrupted runs
	Moved   int64 // visited again, because a replica with other targets had moved them meanwhile
	Parked  int64 // users that the target refuses now
}

// Run fills a target from the roll: it settles every user of the target's sources, then
// those that a replica with other targets has moved meanwhile. It may run beside live traffic.
// An interrupted run continues; when the context ends, the users under way are
// finished first. progress, which may be nil, is told at the start and after every page how
// many users have been visited, of how many. Neither an unknown target nor one that is out of
// service is filled.
func (b *Backfills) Run(ctx context.Context, target string, progress func(done, total int64)) (Result, error) {
	f, err := b.begin(ctx, target, progress)
	if err != nil {
		return Result{}, fmt.Errorf("backfill %s: %w", target, b.Targets.Pool.Explain(err))
	}
	defer f.release()
	if err := f.lock.During(ctx, f.fill); err != nil {
		return f.done, fmt.Errorf("backfill %s: %w", target, b.Targets.Pool.Explain(err))
	}
	return f.done, nil
}

// fill fills the target, and begins anew when its table has changed meanwhile.
func (f *run) fill(ctx context.Context) error {
	steps := []func(context.Context) error{f.begin, f.walk, f.retryParked, f.followMoved}
	for unchanged := false; !unchanged; {
		for _, step := range steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
		var err error
		if unchanged, err = f.tableUnchanged(ctx); err != nil {
			return err
		}
	}
	return f.finish(ctx)
}

// tableUnchanged compares the table with what the target was compiled for. If it has changed since,
// the target is compiled anew, and the backfill begins anew: it visits again the users visited before the
// change or by the former statements.
func (f *run) tableUnchanged(ctx context.Context) (bool, error) {
	now, err := catalog.ReadStates(ctx, f.conn, *f.target.Target)
	if err != nil || now[f.target.Name].Hash == f.target.State.Hash {
		return err == nil, err
	}
	f.targets.Log.Warn("the table has changed meanwhile; the backfill begins anew",
		"target", f.target.Name, "changes", f.target.State.ChangesTo(now[f.target.Name]))
	f.targets.Pool.Reset()
	if err := f.targets.Renew(ctx, f.target); err != nil {
		return false, err
	}
	f.target = f.targets.Named(f.target.Name)
	f.last, f.done = settle.Key{}, Result{}
	return false, cmp.Or(fillable(f.target), f.note(ctx, false))
}

const (
	// walkers leave most of the pool to live traffic.
	walkers = 2
	// maxMisses pages in a row with unexpected rows: another program fills the table, too.
	maxMisses = 2
	// notePause is the least time between two notes of how far the walk is.
	notePause = 100 * time.Millisecond
	// movedPause is the pause between two looks for moved users, each of which reads the
	// whole roll.
	movedPause = 100 * time.Millisecond
)

// run is one run.
type run struct {
	targets  *settle.Targets
	target   *catalog.Compiled
	sources  []string // of its users, in key order
	lock     *connection.Lock
	conn     *pgx.Conn // with settings of its own
	progress func(done, total int64)
	total    int64
	pace     settle.Pace
	// misses is how many pages in a row of a table that was empty have had rows all the same.
	misses int

	startedAt time.Time  // tells this run from another one
	last      settle.Key // up to this one all users are visited
	seen      string     // the snapshot since which the moved have not been visited yet
	done      Result
}

func (b *Backfills) begin(ctx context.Context, target string, progress func(done, total int64)) (*run, error) {
	t := b.Targets.Named(target)
	if err := fillable(t); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(_, _ int64) {}
	}
	f := &run{targets: b.Targets, target: t, sources: t.Sources(), progress: progress}
	var err error
	if f.lock, err = b.Targets.Pool.TryLock(ctx, "backfill "+target); err != nil {
		return nil, err
	}
	if f.conn, err = b.connectForBackfill(ctx); err != nil {
		f.lock.Release()
		return nil, err
	}
	return f, nil
}

// connectForBackfill opens a session for what a backfill reads, which may take its time and may
// be all of a table, and for what it notes, which may be lost in a crash.
func (b *Backfills) connectForBackfill(ctx context.Context) (*pgx.Conn, error) {
	pooled, err := b.Targets.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conn := pooled.Hijack()
	_, err = conn.Exec(ctx, "set statement_timeout = 0; set synchronous_commit = off; set enable_seqscan = on")
	if err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

// release lets others begin.
func (f *run) release() {
	closeConn(f.conn)
	f.lock.Release()
}

// closeConn ends a session that no pool owns.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), connection.LeaveTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// fillable says what keeps a target, which may be nil, from being filled.
func fillable(t *catalog.Compiled) error {
	switch {
	case t == nil:
		return errors.New("there is no such target")
	case t.Outage != nil:
		return fmt.Errorf("the target is out of service: %s", t.Outage.Message)
	default:
		return nil
	}
}

// begin notes the run, or finds the one to go on with.
func (f *run) begin(ctx context.Context) error {
	var empty bool
	if err := f.conn.QueryRow(ctx, "select not exists (select from "+target.QuoteTable(f.target.Table)+")").Scan(&empty); err != nil {
		return err
	}
	f.misses = 0
	if !empty {
		f.misses = maxMisses
	}
	// An interrupted backfill goes on only if neither the configuration nor the table has changed.
	config := f.targets.Fingerprint() ^ connection.Hash32(f.target.State.Hash)
	if _, err := f.conn.Exec(ctx, beginSQL, f.target.Name, config, f.target.OID, empty); err != nil {
		return err
	}
	err := f.conn.QueryRow(ctx, "select started_at, source, user_id, visited, seen::text from rollcall.backfills where target = $1", f.target.Name).
		Scan(&f.startedAt, &f.last.Source, &f.last.ID, &f.done.Visited, &f.seen)
	if err != nil {
		return err
	}
	f.done.Resumed = f.done.Visited
	const count = "select pg_catalog.count(*) from rollcall.users where source = any($1)"
	err = f.conn.QueryRow(ctx, settle.On(f.target.Roll, count), f.sources).Scan(&f.total)
	f.report()
	return err
}

func (f *run) report() { f.progress(f.done.Visited, max(f.total, f.done.Visited)) }

// settleAll settles a list of users, in key order, a page at a time.
func (f *run) settleAll(ctx context.Context, users []settle.Key) error {
	for len(users) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(users), f.pace.Users())
		start := time.Now()
		if err := f.targets.Settle(context.WithoutCancel(ctx), f.target, users[:n]); err != nil {
			return err
		}
		f.pace.Took(time.Since(start))
		users = users[n:]
	}
	return nil
}

// retryParked tries those again that the target has refused, as long as that helps some of them: what
// one wanted may have been another's until that one was visited.
func (f *run) retryParked(ctx context.Context) error {
	for before := -1; ; {
		rows, _ := f.conn.Query(ctx, "select source, user_id from rollcall.parked where target = $1 and source = any($2)", f.target.Name, f.sources)
		users, err := settle.CollectKeys(rows, f.target.Roll)
		if err != nil || len(users) == 0 || len(users) == before {
			return err
		}
		before = len(users)
		if err := f.settleAll(ctx, users); err != nil {
			return err
		}
	}
}

// followMoved visits those that a replica with other targets has moved, which does not know this
// target, until there are no more. Such a user is behind the walk, or in its way, or new.
func (f *run) followMoved(ctx context.Context) error {
	for {
		users, seen, err := f.moved(ctx)
		if err != nil {
			return err
		}
		if err := f.settleAll(ctx, users); err != nil {
			return err
		}
		f.seen = seen
		f.done.Moved += int64(len(users))
		if err := f.note(context.WithoutCancel(ctx), false); err != nil || len(users) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(movedPause):
		}
	}
}

// moved returns the users moved since the snapshot seen, and the one that shows them.
func (f *run) moved(ctx context.Context) (users []settle.Key, seen string, err error) {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly} // one snapshot for both statements
	err = pgx.BeginTxFunc(ctx, f.conn, options, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "select pg_catalog.pg_current_snapshot()::text").Scan(&seen); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, settle.On(f.target.Roll, movedSQL), f.sources, f.targets.Fingerprint(), f.seen)
		users, err = settle.CollectKeys(rows, f.target.Roll)
		return err
	})
	return users, seen, err
}

// note writes down how far this run is.
func (f *run) note(ctx context.Context, finished bool) error {
	tag, err := f.conn.Exec(ctx, noteSQL, f.target.Name, f.startedAt, f.last.Source, f.last.ID, f.done.Visited, f.seen, finished)
	if err == nil && tag.RowsAffected() == 0 {
		return errors.New("another backfill of this target has begun")
	}
	return err
}

func (f *run) finish(ctx context.Context) error {
	const parked = "select pg_catalog.count(*) from rollcall.parked where target = $1 and source = any($2)"
	err := f.conn.QueryRow(ctx, parked, f.target.Name, f.sources).Scan(&f.done.Parked)
	if err != nil {
		return err
	}
	if _, err := f.conn.Exec(ctx, "set synchronous_commit = on"); err != nil { // all that was done stays done
		return err
	}
	return f.note(ctx, true)
}

// Preview is what a backfill that begins anew would do now, in users. Adopt are those who would take over a row, Park
// those that match refuses; other users that the target would refuse are counted as if it didn't.
type Preview struct{ Visit, Insert, Adopt, Change, Remove, Park int64 }

// Preview computes, with the target's own expressions and in a transaction that may
// only read, what a backfill would do. An expression that fails for one user fails it as a
// whole, where a backfill would park the user.
func (b *Backfills) Preview(ctx context.Context, target string) (Preview, error) {
	var p Preview
	t := b.Targets.Named(target)
	if err := fillable(t); err != nil {
		return p, fmt.Errorf("preview of backfill %s: %w", target, err)
	}
	err := b.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, t.Compiler.Preview()).Scan(&p.Visit, &p.Insert, &p.Change, &p.Remove)
		if err != nil || t.Match == nil {
			return err
		}
		err = tx.QueryRow(ctx, t.Compiler.Adoptions()).Scan(&p.Adopt, &p.Park)
		p.Insert -= p.Adopt + p.Park
		return err
	})
	if err != nil {
		return p, fmt.Errorf("preview of backfill %s: %w", target, sqlstate.Mask(err))
	}
	return p, nil
}

// The statements; the files describe their parameters.
var (
	//go:embed begin.sql
	beginSQL string
	//go:embed moved.sql
	movedSQL string
	//go:embed none.sql
	noneSQL string
	//go:embed note.sql
	noteSQL string
	//go:embed page.sql
	pageSQL string
)
