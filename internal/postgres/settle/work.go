package settle

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
)

// Work is what one transaction does: it writes or locks rows of the roll, and settles users.
type Work struct {
	Purpose Purpose
	Open    []Step // writes or locks the roll
	Users   []Key
	Deletes bool // some of the users may be gone
	// Held are those of the users that the opening has written or locked; nil for all.
	Held func() []Key
	// Found are further rows that the opening finds to be settled; nil where none can be. Otherwise what
	// follows the opening takes a round trip of its own.
	Found func() []Key
	// MarkParked corrects the outcome of events about users who were parked; nil when none are recorded.
	MarkParked func(parked map[Key]bool, locked bool) []Step
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
	// settleAgain: as SettleUsers, but without news about them: their tries do not begin anew.
	settleAgain
	// retryParked: as SettleUsers, but they were parked, and no sender waits: it waits for no lock.
	retryParked
)

// Steps is a whole transaction: the table of the one target, if there is one; the roll; removals, children
// first; adoptions and upserts, parents first; what is parked, and what no longer is. The order is that of the locks.
func (ts *Targets) Steps(w *Work, targets []*catalog.Compiled) []Step {
	return slices.Concat(
		ts.opening(w, ts.timeoutsOf(w)),
		w.Table(w.mode()),
		w.Open,
		ts.closing(w, targets),
	)
}

// closing is the transaction behind its opening.
func (ts *Targets) closing(w *Work, targets []*catalog.Compiled) []Step {
	return slices.Concat(
		ts.settling(w, targets),
		w.outages(targets),
		w.clearing(targets),
		[]Step{constraints(), End()},
	)
}

// opening begins a transaction; another try goes on only if no other replica is at it.
func (ts *Targets) opening(w *Work, timeouts []any) []Step {
	steps := Begin(timeouts)
	if ts.dry != nil { // it has begun
		steps = steps[1:]
	}
	if w.Purpose == retryParked {
		steps = append(steps, catchUpLock(w.only))
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

// withFound is the work on all rows, once the opening has found some.
func (w *Work) withFound() *Work {
	all := *w
	all.Users, all.Found = slices.Concat(w.Users, w.Found()), nil
	slices.SortFunc(all.Users, CompareKeys)
	all.Users = slices.Compact(all.Users)
	return &all
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

// counted is how many tries it adds to those of a user who stays parked; nil if they begin anew.
func (w *Work) counted() *int {
	switch w.Purpose {
	case settleAgain:
		return new(0)
	case retryParked:
		return new(1)
	default:
		return nil
	}
}

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

// batchArgs are the parameters that every statement of a target of a roll takes.
func (w *Work) batchArgs(r *event.Roll) []any {
	sources, ids := KeyArrays(w.of(r))
	return []any{sources, ids, w.locked()}
}

// of are the rows of one roll.
func (w *Work) of(r *event.Roll) []Key {
	for _, part := range perRoll(w.Users) {
		if part[0].Roll == r {
			return part
		}
	}
	return nil
}

// Pieces are what is to be done in the targets. First the removals, children's tables first: of the
// users who are gone, if any, and always for a target with where; so that what one of them had (an
// e-mail address) is free for the next. Then the rows that users take over, and the upserts, parents first.
func (w *Work) Pieces(targets []*catalog.Compiled) []Piece {
	var list []Piece
	for _, t := range slices.Backward(targets) {
		if w.removes(t) {
			list = append(list, Piece{Target: t, Statement: t.Removal, wanted: t.RemovalWanted, locked: t.RemovalLocked, pause: childrenPause})
		}
	}
	for _, t := range targets {
		if t.Adoption != "" && t.Outage == nil && len(w.of(t.Roll)) > 0 {
			list = append(list, adoption(t))
		}
	}
	for _, t := range targets {
		if len(w.of(t.Roll)) > 0 && t.Outage == nil {
			list = append(list, Piece{Target: t, Statement: t.Upsert, wanted: t.UpsertWanted, locked: t.UpsertLocked, swaps: true})
		}
	}
	return list
}

func (w *Work) removes(t *catalog.Compiled) bool {
	maybeGone := w.locked() || w.Deletes || t.Where != nil
	return len(w.of(t.Roll)) > 0 && t.Outage == nil && t.Removal != "" && maybeGone
}

// settling runs each piece behind a savepoint: should it fail, those before it are not lost.
func (ts *Targets) settling(w *Work, targets []*catalog.Compiled) []Step {
	var steps []Step
	args := map[*event.Roll][]any{}
	for i, p := range w.Pieces(targets) {
		r := p.Target.Roll
		if args[r] == nil {
			args[r] = w.batchArgs(r)
		}
		steps = append(steps, Step{Kind: Marking, SQL: "savepoint piece"}, Step{Kind: settling, SQL: p.Statement, Args: args[r], piece: i})
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
		steps = append(steps, Step{Kind: Parking, SQL: On(t.Roll, parkAllSQL), Args: []any{sources, ids, w.locked(), t.Name, t.Outage.State, t.Outage.Message}})
	}
	if len(steps) > 0 && w.MarkParked != nil {
		steps = append(steps, w.MarkParked(w.usersOfOutages(targets), w.locked())...)
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
	return slices.DeleteFunc(slices.Clone(users), func(u Key) bool { return u.Roll != t.Roll || !t.Follows(u.Source) })
}

// clearing forgets what was parked for the targets that ran.
func (w *Work) clearing(targets []*catalog.Compiled) []Step {
	var steps []Step
	for _, part := range perRoll(w.Users) {
		r := part[0].Roll
		ran := names(targets, func(t *catalog.Compiled) bool { return works(t) && t.Roll == r })
		if len(ran) > 0 {
			steps = append(steps, Step{Kind: Parking, SQL: On(r, clearSQL), Args: append(w.batchArgs(r), ran)})
		}
	}
	return steps
}

// LockWork locks users, in key order, does something to them by statements whose parameters are two arrays
// of sources and ids, and settles them. Before memberships it locks their organisations.
func LockWork(users []Key, statements ...string) *Work {
	w := &Work{Purpose: SettleUsers, Users: users}
	if members := w.of(&event.Memberships); len(members) > 0 {
		sources, ids := KeyArrays(members)
		otherSources, others := KeyArrays(w.of(&event.Organizations))
		w.Open = append(w.Open, Step{Kind: Writing, SQL: lockPairsSQL, Args: []any{sources, ids, otherSources, others}})
	}
	for _, s := range append([]string{lockSQL}, statements...) {
		for _, part := range perRoll(users) {
			sources, ids := KeyArrays(part)
			w.Open = append(w.Open, Step{Kind: Writing, SQL: On(part[0].Roll, s), Args: []any{sources, ids}})
		}
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

// TryAgain is another try for parked users of a target. It reports whether they were tried: not if the target is out of
// service, or another replica is at it.
func (ts *Targets) TryAgain(ctx context.Context, t *catalog.Compiled, users []Key) (bool, error) {
	w := LockWork(users, forgetErasedSQL)
	w.Purpose, w.only = retryParked, t
	_, err := ts.Commit(ctx, w)
	if FailedFor(err, OutOfService, catchingUp) {
		return false, nil
	}
	return err == nil, err
}

// errCatchingUp: another replica is settling the parked users of the target.
var errCatchingUp = errors.New("another replica is catching up")

// catchUpLock keeps two replicas from trying the same users again at once. The lock ends with the transaction,
// and so with a process that is killed, and costs no connection.
func catchUpLock(t *catalog.Compiled) Step {
	return Step{
		Kind: lockingCatchUp, SQL: "select pg_catalog.pg_try_advisory_xact_lock($1, $2)", Args: []any{connection.LockSpace, connection.Hash32("catch up " + t.Name)},
		Read: func(rows pgx.Rows) error {
			ours, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
			if err == nil && !ours {
				err = errCatchingUp
			}
			return err
		},
	}
}
