package settle

import (
	"slices"

	"rollcall/internal/postgres/catalog"
)

// Work is what one transaction does: it writes or locks rows of the roll, and settles users.
type Work struct {
	Purpose Purpose
	Open    []Step // writes or locks the roll
	Users   []Key
	Deletes bool // some of the users may be gone
	// Held are those of the users that the opening has written or locked; nil for all.
	Held func() []Key
	// MarkParked corrects the outcome of events about users who were parked; nil when none are recorded.
	MarkParked func(parked map[Key]bool, locked bool) Step
	// only is the one target to settle, in service or not; nil for all that are.
	only *catalog.Compiled
}

// Purpose says which users a transaction settles, and whether it waits.
type Purpose int

const (
	// RecordEvents settles those that the roll statement has written.
	RecordEvents Purpose = iota + 1
	// SettleUsers settles all; the opening has locked them, and they may be gone.
	SettleUsers
	// retryParked: as SettleUsers, but they were parked, and no sender waits: it waits for no lock.
	retryParked
)

// Steps is a whole transaction: the table of the one target, if there is one; the roll; removals, children
// first; upserts, parents first; what is parked, and what no longer is. The order is that of the locks.
func (ts *Targets) Steps(w *Work, targets []*catalog.Compiled) []Step {
	return slices.Concat(
		ts.opening(w, ts.timeoutsOf(w)),
		w.Table(w.mode()),
		w.Open,
		ts.settling(w, targets),
		w.outages(targets),
		w.clearing(targets),
		[]Step{constraints(), End()},
	)
}

// opening begins a transaction; another try goes on only if no other replica is at it.
func (ts *Targets) opening(w *Work, timeouts []any) []Step {
	steps := Begin(timeouts)
	if w.Purpose == retryParked {
		steps = append(steps, turn(w.only))
	}
	return steps
}

// timeoutsOf are those of a transaction: another try waits for no lock.
func (ts *Targets) timeoutsOf(w *Work) []any {
	if w.Purpose == retryParked {
		return ts.askingTimeouts(w)
	}
	return ts.Pool.Timeouts()
}

// among picks the targets to settle.
func (w *Work) among(targets []*catalog.Compiled) []*catalog.Compiled {
	if w.only == nil {
		return targets
	}
	return []*catalog.Compiled{w.only}
}

// locked reports whether all users are locked by the opening, so that all are settled.
func (w *Work) locked() bool { return w.Purpose != RecordEvents }

// mode is the least that its pieces are run with.
func (w *Work) mode() Mode {
	if w.Purpose == retryParked {
		return Asking
	}
	return 0
}

// Table takes the table of the one target before the roll: while another session holds it, live events
// about these users are not held up as well. Where the role may not, a wait shows in the pieces.
func (w *Work) Table(m Mode) []Step {
	if w.only == nil || !w.only.Lockable {
		return nil
	}
	lock := w.only.LockTable()
	if m.has(Asking) {
		lock += " nowait"
	}
	return []Step{{Kind: locking, SQL: lock}}
}

// batchArgs are the parameters that every statement of a target takes.
func (w *Work) batchArgs() []any {
	sources, ids := KeyArrays(w.Users)
	return []any{sources, ids, w.locked()}
}

// Pieces are what is to be done in the targets. First the removals, children's tables first: of the
// users who are gone, if any, and always for a target with where; so that what one of them had (an
// e-mail address) is free for the next. Then the upserts, parents first.
func (w *Work) Pieces(targets []*catalog.Compiled) []Piece {
	var list []Piece
	for _, t := range slices.Backward(targets) {
		if w.removes(t) {
			list = append(list, Piece{Target: t, Statement: t.Removal, wanted: t.RemovalWanted, locked: t.RemovalLocked, pause: childrenPause})
		}
	}
	for _, t := range targets {
		if len(w.Users) > 0 && t.Outage == nil {
			list = append(list, Piece{Target: t, Statement: t.Upsert, wanted: t.UpsertWanted, locked: t.UpsertLocked, swaps: true})
		}
	}
	return list
}

func (w *Work) removes(t *catalog.Compiled) bool {
	maybeGone := w.locked() || w.Deletes || t.Where != nil
	return len(w.Users) > 0 && t.Outage == nil && t.Removal != "" && maybeGone
}

// settling runs each piece behind a savepoint: should it fail, those before it are not lost.
func (ts *Targets) settling(w *Work, targets []*catalog.Compiled) []Step {
	var steps []Step
	args := w.batchArgs()
	for i, p := range w.Pieces(targets) {
		steps = append(steps, Step{Kind: Marking, SQL: "savepoint piece"}, Step{Kind: settling, SQL: p.Statement, Args: args, piece: i})
		if p.Target.Triggers { // they may have changed the settings
			steps = append(steps, Restore(ts.timeoutsOf(w))...)
		}
	}
	return steps
}

// outages parks the users of the targets that are out of service.
func (w *Work) outages(targets []*catalog.Compiled) []Step {
	var steps []Step
	for _, t := range targets {
		users := following(t, w.Users)
		if t.Outage == nil || len(users) == 0 {
			continue
		}
		sources, ids := KeyArrays(users)
		steps = append(steps, Step{Kind: Parking, SQL: parkAllSQL, Args: []any{sources, ids, w.locked(), t.Name, t.Outage.State, t.Outage.Message}})
	}
	if len(steps) > 0 && w.MarkParked != nil {
		steps = append(steps, w.MarkParked(w.usersOfOutages(targets), w.locked()))
	}
	return steps
}

func (w *Work) usersOfOutages(targets []*catalog.Compiled) map[Key]bool {
	parked := map[Key]bool{}
	for _, t := range targets {
		if t.Outage == nil {
			continue
		}
		for _, u := range following(t, w.Users) {
			parked[u] = true
		}
	}
	return parked
}

// following picks the users that a target follows.
func following(t *catalog.Compiled, users []Key) []Key {
	return slices.DeleteFunc(slices.Clone(users), func(u Key) bool { return !t.Follows(u.Source) })
}

// clearing forgets what was parked for the targets that ran.
func (w *Work) clearing(targets []*catalog.Compiled) []Step {
	ran := names(targets, works)
	if len(w.Users) == 0 || len(ran) == 0 {
		return nil
	}
	return []Step{{Kind: Parking, SQL: clearSQL, Args: append(w.batchArgs(), ran)}}
}

// LockWork locks users, in key order, does something to them by statements whose parameters are two arrays
// of sources and ids, and settles them.
func LockWork(users []Key, statements ...string) *Work {
	sources, ids := KeyArrays(users)
	w := &Work{Purpose: SettleUsers, Users: users}
	for _, s := range append([]string{lockSQL}, statements...) {
		w.Open = append(w.Open, Step{Kind: Writing, SQL: s, Args: []any{sources, ids}})
	}
	return w
}

// SettleWork settles users of one target. It always looks for those who are gone: a user may have been
// deleted since the key was read, and what is parked must not be forgotten without that.
func SettleWork(t *catalog.Compiled, users []Key) *Work {
	w := LockWork(users)
	w.only = t
	return w
}

// retryWork is another try for parked users of a target.
func retryWork(t *catalog.Compiled, users []Key) *Work {
	w := LockWork(users, forgetErasedSQL)
	w.Purpose, w.only = retryParked, t
	return w
}
