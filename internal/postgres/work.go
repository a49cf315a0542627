package postgres

import (
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/sql"
)

// work is what one transaction does: it writes or locks rows of the roll, and settles users.
type work struct {
	purpose purpose
	open    []step // writes or locks the roll
	users   []userKey
	batch   *batch // nil unless events are recorded
	// only is the one target to settle, in service or not; nil for all that are.
	only *compiled
}

// purpose says which users a transaction settles, and whether it waits.
type purpose int

const (
	// recordEvents: those that the roll statement has written.
	recordEvents purpose = iota + 1
	// settleUsers: all; the opening has locked them, and they may be gone.
	settleUsers
	// retryParked: as settleUsers, but they were parked, and no sender waits: it waits for no lock.
	retryParked
)

// steps is a whole transaction: the roll; removals, children first; upserts, parents first;
// what is parked, and what no longer is. The order is that of the locks, everywhere.
func (db *DB) steps(w *work, targets []*compiled) []step {
	return slices.Concat(
		db.opening(w, db.timeoutsOf(w)),
		w.table(w.mode()),
		w.open,
		db.settling(w, targets),
		w.outages(targets),
		w.clearing(targets),
		[]step{constraints(), end()},
	)
}

// opening begins a transaction; another try goes on only if no other replica is at it.
func (db *DB) opening(w *work, timeouts []any) []step {
	steps := begin(timeouts)
	if w.purpose == retryParked {
		steps = append(steps, turn(w.only))
	}
	return steps
}

// timeoutsOf are those of a transaction: another try waits for no lock.
func (db *DB) timeoutsOf(w *work) []any {
	if w.purpose == retryParked {
		return db.askingTimeouts(w)
	}
	return db.pool.Timeouts()
}

// among picks the targets to settle.
func (w *work) among(targets []*compiled) []*compiled {
	if w.only == nil {
		return targets
	}
	return []*compiled{w.only}
}

// locked reports whether all users are locked by the opening, so that all are settled.
func (w *work) locked() bool { return w.purpose != recordEvents }

// mode is the least that its pieces are run with.
func (w *work) mode() mode {
	if w.purpose == retryParked {
		return asking
	}
	return 0
}

// table takes the table of the one target before the roll: while another session holds it, live events
// about these users are not held up as well. Where the role may not, a wait shows in the pieces.
func (w *work) table(m mode) []step {
	if w.only == nil || !w.only.lockable {
		return nil
	}
	lock := w.only.lockTable()
	if m.has(asking) {
		lock += " nowait"
	}
	return []step{{kind: locking, sql: lock}}
}

// batchArgs are the parameters that every statement of a target takes.
func (w *work) batchArgs() []any {
	sources, ids := keyArrays(w.users)
	return []any{sources, ids, w.locked()}
}

// pieces are what is to be done in the targets. First the removals, children's tables first: of the
// users who are gone, if any, and always for a target with where; so that what one of them had (an
// e-mail address) is free for the next. Then the upserts, parents first.
func (w *work) pieces(targets []*compiled) []piece {
	var list []piece
	for _, t := range slices.Backward(targets) {
		if w.removes(t) {
			list = append(list, piece{target: t, statement: t.Removal, wanted: t.RemovalWanted, locked: t.RemovalLocked, pause: childrenPause})
		}
	}
	for _, t := range targets {
		if len(w.users) > 0 && t.outage == nil {
			list = append(list, piece{target: t, statement: t.Upsert, wanted: t.UpsertWanted, locked: t.UpsertLocked, swaps: true})
		}
	}
	return list
}

func (w *work) removes(t *compiled) bool {
	maybeGone := w.locked() || w.batch.deletes || t.Where != nil
	return len(w.users) > 0 && t.outage == nil && t.Removal != "" && maybeGone
}

// settling runs each piece behind a savepoint: should it fail, those before it are not lost.
func (db *DB) settling(w *work, targets []*compiled) []step {
	var steps []step
	args := w.batchArgs()
	for i, p := range w.pieces(targets) {
		steps = append(steps, step{kind: marking, sql: "savepoint piece"}, step{kind: settling, sql: p.statement, args: args, piece: i})
		if p.target.triggers { // they may have changed the settings
			steps = append(steps, restore(db.timeoutsOf(w))...)
		}
	}
	return steps
}

// outages parks the users of the targets that are out of service.
func (w *work) outages(targets []*compiled) []step {
	var steps []step
	for _, t := range targets {
		users := following(t, w.users)
		if t.outage == nil || len(users) == 0 {
			continue
		}
		sources, ids := keyArrays(users)
		steps = append(steps, step{kind: parking, sql: sql.ParkAll, args: []any{sources, ids, w.locked(), t.Name, t.outage.state, t.outage.message}})
	}
	if len(steps) > 0 && w.batch != nil {
		steps = append(steps, w.markParked(w.usersOfOutages(targets)))
	}
	return steps
}

// markParked corrects the outcome of the batch's events about users who were parked.
func (w *work) markParked(parked map[userKey]bool) step {
	var sources, ids, users []string
	for _, at := range w.batch.recorded {
		e := &w.batch.events[at]
		if r := w.batch.roll.Of(e); r != nil && parked[keyOf(r)] {
			sources, ids, users = append(sources, e.Source), append(ids, e.ID), append(users, r.Head().ID)
		}
	}
	return step{kind: parking, sql: sql.MarkParked, args: []any{sources, ids, users, w.locked()}}
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
	return slices.DeleteFunc(slices.Clone(users), func(u userKey) bool { return !t.Follows(u.source) })
}

// clearing forgets what was parked for the targets that ran.
func (w *work) clearing(targets []*compiled) []step {
	var ran []string
	for _, t := range targets {
		if t.outage == nil {
			ran = append(ran, t.Name)
		}
	}
	if len(w.users) == 0 || len(ran) == 0 {
		return nil
	}
	return []step{{kind: parking, sql: sql.Clear, args: append(w.batchArgs(), ran)}}
}

// rollWork writes what a batch says.
func (db *DB) rollWork(b *batch) *work {
	return &work{
		purpose: recordEvents, users: b.users, batch: b,
		open: []step{{kind: writing, sql: b.roll.write, args: slices.Concat(b.eventArrays(), b.recordArrays(), []any{b.captured, db.fingerprint}), read: readRoll}},
	}
}

func readRoll(rows pgx.Rows, r *result) error {
	r.fresh, r.written = map[eventKey]bool{}, map[int64]bool{}
	var source, id *string
	var n *int64
	_, err := pgx.ForEachRow(rows, []any{&source, &id, &n}, func() error {
		if n != nil {
			r.written[*n] = true
		} else {
			r.fresh[eventKey{*source, *id}] = true
		}
		return nil
	})
	return err
}

// lockWork locks users, in key order, and settles them.
func lockWork(users []userKey) *work {
	sources, ids := keyArrays(users)
	return &work{purpose: settleUsers, users: users, open: []step{{kind: writing, sql: sql.Lock, args: []any{sources, ids}}}}
}

// settleWork settles users of one target. It always looks for those who are gone: a user may have been
// deleted since the key was read, and what is parked must not be forgotten without that.
func settleWork(t *compiled, users []userKey) *work {
	w := lockWork(users)
	w.only = t
	return w
}

// retryWork is another try for parked users of a target.
func retryWork(t *compiled, users []userKey) *work {
	w := settleWork(t, users)
	w.purpose = retryParked
	sources, ids := keyArrays(users)
	w.open = append(w.open, step{kind: writing, sql: sql.ForgetErased, args: []any{sources, ids}})
	return w
}

// repairWork corrects the outcome of overtaken events, and settles users of duplicates and those who are
// only to be settled; nil when nothing is left to do.
func repairWork(b *batch, done *result, outcomes []event.Outcome) *work {
	written := b.writtenUsers(done)
	var stale, users []userKey
	for i, o := range outcomes {
		e := &b.events[i]
		if o == event.Stale && e.ID != "" {
			stale = append(stale, userKey(eventKeyOf(e)))
		}
		if u, again := b.toSettle(e, o); again {
			if _, settled := slices.BinarySearchFunc(written, u, compareKeys); !settled {
				users = append(users, u)
			}
		}
	}
	slices.SortFunc(stale, compareKeys)
	slices.SortFunc(users, compareKeys)
	w := &work{purpose: settleUsers}
	if len(users) > 0 {
		w = lockWork(slices.Compact(users))
	}
	if len(stale) > 0 {
		sources, ids := keyArrays(stale)
		w.open = slices.Insert(w.open, 0, step{kind: writing, sql: sql.MarkStale, args: []any{sources, ids}})
	}
	if len(w.open) == 0 {
		return nil
	}
	return w
}
