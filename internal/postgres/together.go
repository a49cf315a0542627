package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/sql"
)

// together runs a transaction as one pipeline, and goes on piece by piece behind one that a
// target refuses. An error leaves nothing behind.
func (db *DB) together(ctx context.Context, w *work, last bool) (*result, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	defer leave(conn.Conn())

	targets := w.among(*db.targets.Load())
	done := &result{}
	err = pipeline(ctx, conn.Conn(), db.steps(w, targets), done)
	var refused *failure
	if errors.As(err, &refused) && refused.resumable() && !conn.Conn().IsClosed() {
		s := &separation{work: w, targets: targets, last: last, done: *done}
		return db.resume(ctx, conn.Conn(), s, refused)
	}
	if err != nil {
		return nil, err
	}
	done.parked = w.usersOfOutages(targets)
	return done, nil
}

// failure is what one of the targets' pieces failed with, after those before it were done.
type failure struct {
	piece int // its place among the transaction's pieces
	cause error
}

func (f *failure) Error() string { return f.cause.Error() }

// Unwrap keeps the cause, which says who is to blame.
func (f *failure) Unwrap() error { return f.cause }

// resumable reports whether it is this target's affair, so that the others need not run again.
func (f *failure) resumable() bool {
	switch blameOf(f.cause) {
	case blameRow, blameWait, blameTarget:
		return true
	default:
		return false
	}
}

// steps is a whole transaction: the roll; removals, children first; upserts, parents first;
// what is parked, and what no longer is. The order is that of the locks, everywhere.
func (db *DB) steps(w *work, targets []*compiled) []statement {
	begin := []statement{{sql: sql.Begin}, {sql: sql.Settings, args: db.timeoutsOf(w)}}
	table := w.table
	if w.retry {
		begin, table = append(begin, turn(w.only)), table+" nowait"
	}
	if w.table != "" {
		begin = append(begin, statement{sql: table})
	}
	return slices.Concat(
		begin,
		w.open,
		db.settling(w, targets),
		w.outages(targets),
		w.clearing(targets),
		[]statement{{sql: constraintsNow}, {sql: "commit"}},
	)
}

// timeoutsOf are those of a transaction: another try waits for nobody.
func (db *DB) timeoutsOf(w *work) []any {
	if w.retry {
		return db.askingTimeouts(w)
	}
	return db.timeouts()
}

// constraintsNow runs deferred triggers as the commit would, but under statement_timeout:
// the commit itself knows no timeout, so one that hangs would hang for ever, with the locks
// of the roll, even after Rollcall has gone.
const constraintsNow = "set constraints all immediate"

// pipeline sends all statements at once and reads their results in turn.
func pipeline(ctx context.Context, conn *pgx.Conn, steps []statement, done *result) error {
	var queue pgx.Batch
	for _, s := range steps {
		queue.Queue(s.sql, s.args...)
	}
	replies := conn.SendBatch(ctx, &queue)
	piece := -1
	for _, s := range steps {
		if s.sql == savepointPiece {
			piece++
		}
		if err := readReply(replies, s, done); err != nil {
			_ = replies.Close() // it repeats the error
			switch {
			case s.piece:
				return &failure{piece, err}
			case s.sql == takeTurn && stateOf(err) == divisionByZero:
				return errOthersTurn
			case s.sql == constraintsNow && blameOf(err) != blameNobody:
				return &deferredRefusal{err}
			}
			return err
		}
	}
	return replies.Close()
}

func readReply(replies pgx.BatchResults, s statement, done *result) error {
	if s.read == nil {
		tag, err := replies.Exec()
		if err == nil && s.sql == "commit" && tag.String() != "COMMIT" {
			return errors.New("the server answered commit with " + tag.String())
		}
		return err
	}
	rows, err := replies.Query()
	if err != nil {
		return err
	}
	return s.read(rows, done)
}

// leave ends a failed transaction, so that the connection can be used again. When it
// can't, the pool sees the connection's state and closes it.
func leave(conn *pgx.Conn) {
	if conn.PgConn().TxStatus() == 'I' || conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback")
}

// batchArgs are the parameters that every statement of a target takes.
func (w *work) batchArgs() []any {
	sources, ids := keyArrays(w.users)
	return []any{sources, ids, w.held}
}

// pieces are what is to be done in the targets. First the removals, children's tables first:
// of the users who are gone, if any, and always for a target with where; so that what a leaver
// had (his e-mail) is free for the next. Then the upserts, parents first.
func (w *work) pieces(targets []*compiled) []piece {
	var list []piece
	for _, t := range slices.Backward(targets) {
		if w.removes(t) {
			list = append(list, piece{target: t, statement: t.removal, wanted: t.removalWanted, locked: t.removalLocked, pause: childrenPause})
		}
	}
	for _, t := range targets {
		if w.settles(t) {
			list = append(list, piece{target: t, statement: t.upsert, wanted: t.upsertWanted, locked: t.upsertLocked})
		}
	}
	return list
}

// savepointPiece stands before each piece: should that fail, those before it are not lost.
const savepointPiece = "savepoint piece"

// resetRole ends what a trigger may have done with "set role".
const resetRole = "reset role"

func (db *DB) settling(w *work, targets []*compiled) []statement {
	var steps []statement
	args := w.batchArgs()
	for _, p := range w.pieces(targets) {
		steps = append(steps, statement{sql: savepointPiece}, statement{sql: p.statement, args: args, piece: true})
		if p.target.triggers { // they may have changed the settings
			steps = append(steps, statement{sql: resetRole}, statement{sql: sql.Settings, args: db.timeoutsOf(w)})
		}
	}
	return steps
}

func (w *work) removes(t *compiled) bool {
	return len(w.users) > 0 && t.outage == nil && t.removal != "" && (w.departures || t.Where != nil)
}

func (w *work) settles(t *compiled) bool { return len(w.users) > 0 && t.outage == nil }

// outages parks the users of the targets that are out of service.
func (w *work) outages(targets []*compiled) []statement {
	var steps []statement
	for _, t := range targets {
		users := following(t, w.users)
		if t.outage == nil || len(users) == 0 {
			continue
		}
		sources, ids := keyArrays(users)
		steps = append(steps, statement{sql: sql.ParkAll, args: []any{sources, ids, w.held, t.Name, t.outage.state, t.outage.message}})
	}
	if len(steps) > 0 && w.batch != nil {
		steps = append(steps, w.markParked(w.usersOfOutages(targets)))
	}
	return steps
}

// markParked corrects the outcome of the batch's events about users who were parked.
func (w *work) markParked(parked map[userKey]bool) statement {
	var sources, ids, users []string
	for _, at := range w.batch.recorded {
		e := &w.batch.events[at]
		if r := w.batch.roll.Of(e); r != nil && parked[keyOf(r)] {
			sources, ids, users = append(sources, e.Source), append(ids, e.ID), append(users, r.Head().ID)
		}
	}
	return statement{sql: sql.MarkParked, args: []any{sources, ids, users, w.held}}
}

func (w *work) usersOfOutages(targets []*compiled) map[userKey]bool {
	parked := map[userKey]bool{}
	for _, t := range targets {
		if t.outage == nil {
			continue
		}
		for _, u := range following(t, w.users) {
			parked[u] = true
		}
	}
	return parked
}

// following picks the users that a target follows.
func following(t *compiled, users []userKey) []userKey {
	return slices.DeleteFunc(slices.Clone(users), func(u userKey) bool { return !t.follows(u.source) })
}

// clearing forgets what was parked for the targets that ran.
func (w *work) clearing(targets []*compiled) []statement {
	var ran []string
	for _, t := range targets {
		if t.outage == nil {
			ran = append(ran, t.Name)
		}
	}
	if len(w.users) == 0 || len(ran) == 0 {
		return nil
	}
	return []statement{{sql: sql.Clear, args: append(w.batchArgs(), ran)}}
}
