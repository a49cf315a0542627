package roll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/settle"
)

// applySignals is Apply for signals. It takes a transaction for each source, and a further one
// where the users are too large for one.
func (r *Roll) applySignals(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	outcomes := make([]event.Outcome, len(events))
	bySource := map[string][]int{}
	var malformed []int
	events = slices.Clone(events)
	for i := range events {
		if uuid.Validate(events[i].UserID) != nil {
			malformed = append(malformed, i)
			continue
		}
		events[i].UserID = uuid.MustParse(events[i].UserID).String() // as PostgreSQL writes it
		bySource[events[i].Source] = append(bySource[events[i].Source], i)
	}
	if err := r.refuseSignals(ctx, events, malformed, outcomes); err != nil {
		return nil, err
	}
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		l := &look{roll: r, source: r.followed(source), events: events, outcomes: outcomes, fresh: map[eventKey]bool{}, answered: map[eventKey]bool{}}
		if err := l.apply(ctx, bySource[source]); err != nil {
			err = fmt.Errorf("look at users of %s: %w: %w", source, event.ErrUnavailable, err)
			if !slices.ContainsFunc(outcomes, func(o event.Outcome) bool { return o != "" }) {
				return nil, err
			}
			r.targets.Log.Warn("some users have not been looked at; who said something about them is asked to try again", "error", err)
		}
	}
	for i := range outcomes {
		outcomes[i] = cmp.Or(outcomes[i], event.Unavailable)
	}
	return outcomes, nil
}

// refuseSignals records signals about what can't be a user of the table: its ids are uuids.
func (r *Roll) refuseSignals(ctx context.Context, events []event.Event, list []int, outcomes []event.Outcome) error {
	for _, at := range list {
		e := events[at]
		e.Op, e.User, outcomes[at] = event.Undecodable, nil, event.UndecodableBody
		giveReason(&e, notUUID)
		if e.ID == "" && len(e.Captured) == 0 {
			continue
		}
		if _, err := r.applyBodies(ctx, []event.Event{e}); err != nil {
			return err
		}
		if outbox.HasIDs(e.Captured) {
			if err := r.outbox.Forget(ctx, e.Captured); err != nil {
				return err
			}
		}
	}
	return nil
}

// look applies events of one source; lists of events are positions.
type look struct {
	roll     *Roll
	source   *tableSource // nil when it is none any more
	events   []event.Event
	outcomes []event.Outcome
	doubtful []int             // events about users who seem to be gone though no signal says so
	living   bool              // the table has a living user
	stale    []int             // recorded events that turned out to be stale
	fresh    map[eventKey]bool // events that this look has recorded
	answered map[eventKey]bool // those of them that have their outcome: a further one is a duplicate
}

func (l *look) apply(ctx context.Context, list []int) error {
	err := l.readAll(ctx, list)
	return errors.Join(err, l.markStale(ctx))
}

func (l *look) readAll(ctx context.Context, list []int) error {
	if err := l.read(ctx, list, false); err != nil {
		return err
	}
	if len(l.doubtful) > 0 {
		doubtful := l.doubtful
		l.doubtful = nil
		sure, err := l.knowsAnother(ctx, doubtful)
		if err != nil {
			return err
		}
		if sure {
			err = l.read(ctx, doubtful, true)
		} else {
			l.doubt(doubtful)
		}
		return err
	}
	return nil
}

// The reasons of outcomes that a look gives.
const (
	notUUID    = "the user's id is no uuid"
	notInTable = "not in %s"
	doubtWords = "not in %s, which has none of some others of the roll either; is it the right table?"
)

func giveReason(e *event.Event, reason string) {
	if e.Explain != nil {
		e.Explain(reason)
	}
}

// doubt ends events about users who are absent from a table that may be the wrong one.
func (l *look) doubt(list []int) {
	for _, at := range list {
		e := &l.events[at]
		l.outcomes[at] = event.Stale
		giveReason(e, fmt.Sprintf(doubtWords, l.source.table))
		if e.ID != "" {
			l.stale = append(l.stale, at)
		}
	}
	l.roll.targets.Log.Warn("users of the roll are not in the table of users, which has none of some others of the roll either: nothing is deleted; is it the right table? If they are all gone, reconcile",
		"source", l.source.name, "table", l.source.table, "events", len(list))
}

// read looks at the users that events are about, until each has been read. With deleted, those who
// are absent are gone.
func (l *look) read(ctx context.Context, list []int, deleted bool) error {
	for len(list) > 0 {
		if l.source == nil {
			return l.fallBack(ctx, list)
		}
		s := newSignals(l, list, deleted)
		w, done := s.work(l)
		var err error
		done.parked, err = l.roll.targets.Commit(ctx, w)
		switch {
		case directory.Unreadable(err):
			l.roll.unfollow(l.source, err)
			l.source = nil
			continue
		case settle.FailedFor(err, settle.RollRefuses):
			return l.isolate(ctx, list, deleted, err)
		case err != nil:
			l.roll.commits.committed(err)
			return err
		}
		l.roll.commits.committed(nil)
		list = s.conclude(l, done)
	}
	return nil
}

// isolate finds the user whose row the roll refuses, by halves. Reading changes what the roll
// can't hold, so that this does not happen; should it, one user must not keep all from the roll.
func (l *look) isolate(ctx context.Context, list []int, deleted bool, cause error) error {
	if len(list) > 1 {
		half := len(list) / 2
		return errors.Join(l.read(ctx, list[:half], deleted), l.read(ctx, list[half:], deleted))
	}
	e := &l.events[list[0]]
	l.roll.targets.Log.Error("the roll refuses a row of the table of users", "source", e.Source, "user", e.UserID, "error", cause)
	return l.roll.refuseSignals(ctx, l.events, list, l.outcomes)
}

// fallBack applies events of a source that is no table source any more by what they say
// themselves. Those that say nothing wait.
func (l *look) fallBack(ctx context.Context, list []int) error {
	var bodies []event.Event
	var of []int
	for _, at := range list {
		if l.outcomes[at] = event.Unavailable; l.events[at].User != nil {
			bodies, of = append(bodies, l.events[at]), append(of, at)
		}
	}
	outcomes, err := l.roll.applyBodies(ctx, bodies)
	for i, at := range of {
		if err == nil {
			l.outcomes[at] = outcomes[i]
		}
	}
	return err
}

// markStale corrects the recorded outcome; after a crash before that it stays applied.
func (l *look) markStale(ctx context.Context) error {
	if len(l.stale) == 0 {
		return nil
	}
	keys := make([]settle.Key, len(l.stale))
	for i, at := range l.stale {
		keys[i] = settle.Key(eventKeyOf(&l.events[at]))
	}
	slices.SortFunc(keys, settle.CompareKeys)
	sources, ids := settle.KeyArrays(keys)
	_, err := l.roll.targets.Pool.Exec(ctx, markStaleSQL, sources, ids)
	return err
}

// askedOthers is how many other users of the roll the table is asked about before an absence is
// believed.
const askedOthers = 5

// knowsAnother reports whether the table has a living user who was looked at too, or one of some
// others of the roll; or the roll has but the one who is absent. A wrong or an emptied table has none.
func (l *look) knowsAnother(ctx context.Context, doubtful []int) (bool, error) {
	if l.living {
		return true, nil
	}
	absent := map[string]bool{}
	for _, at := range doubtful {
		absent[l.events[at].UserID] = true
	}
	ids, err := l.roll.directory.Listing(l.source.name).Sample(ctx, askedOthers+len(absent), time.Now().Add(time.Hour))
	if err != nil {
		return false, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return absent[id] || uuid.Validate(id) != nil })
	if ids = ids[:min(len(ids), askedOthers)]; len(ids) == 0 {
		return len(absent) == 1, nil
	}
	users, err := l.roll.directory.Users(ctx, l.source.name, l.source.table)
	if err != nil {
		return false, err
	}
	living, err := users.Living(ctx, ids)
	return len(living) > 0, err
}

// signals are the events of one transaction.
type signals struct {
	list     []int
	users    []string // in key order
	deleted  []bool   // of each user: a signal says that they were deleted
	captured []int64
	batch    *batch // the recorded events
}

func newSignals(l *look, list []int, deleted bool) *signals {
	s := &signals{list: list, captured: []int64{}}
	gone := map[string]bool{}
	events := make([]event.Event, len(list))
	for i, at := range list {
		e := l.events[at]
		s.captured = append(s.captured, e.Captured...)
		gone[e.UserID] = gone[e.UserID] || deleted || e.Op == event.Delete
		e.User = &event.User{Row: event.Row{Source: e.Source, ID: e.UserID}} // nothing else of it counts
		events[i] = e
	}
	s.users = slices.SortedFunc(maps.Keys(gone), strings.Compare)
	for _, id := range s.users {
		s.deleted = append(s.deleted, gone[id])
	}
	s.batch = newBatch(users, events)
	return s
}

// work is the transaction: events, locks, then the table; and where it notes what was done.
func (s *signals) work(l *look) (*settle.Work, *result) {
	source := l.source.name
	events, users := make([]string, len(s.batch.recorded)), make([]string, len(s.batch.recorded))
	for i, at := range s.batch.recorded {
		events[i], users[i] = s.batch.events[at].ID, s.batch.events[at].UserID
	}
	done := &result{}
	w := &settle.Work{Purpose: settle.SettleUsers, Users: s.batch.users, Held: func() []settle.Key { return s.held(done) }, MarkParked: s.batch.markParked}
	if len(events) > 0 {
		w.Open = append(w.Open, settle.Step{Kind: settle.Writing, SQL: noteEvents, Args: append([]any{source}, s.batch.eventArrays()[1:7]...), Read: done.readFresh(source)})
	}
	text := l.source.read
	if outbox.HasIDs(s.captured) {
		text = l.source.readIDs
	}
	read := settle.Step{Kind: settle.Writing, SQL: text, Args: []any{source, s.users, s.deleted, s.captured, events, users, int64(signalBytes), l.roll.targets.Fingerprint(), l.roll.directory.Metadata.Load()}, Read: done.readLooks}
	w.Open = append(w.Open, LockRows(s.batch.users))
	w.Open = append(w.Open, l.source.reading(read)...)
	w.Open = append(w.Open, s.batch.takeBodies()...)
	return w, done
}

// held are the users that the look has read.
func (s *signals) held(done *result) []settle.Key {
	return slices.DeleteFunc(slices.Clone(s.batch.users), func(u settle.Key) bool {
		found, read := done.seen[u.ID]
		return !read || found.unknown
	})
}

func (r *result) readFresh(source string) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		r.fresh = map[eventKey]bool{}
		var id string
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			r.fresh[eventKey{Source: source, ID: id}] = true
			return nil
		})
		return err
	}
}

// seen is how a look has found a user.
type seen struct {
	living  bool   // in the table
	written bool   // the roll was behind
	doubt   bool   // absent, living in the roll, and no signal says that they were deleted
	unknown bool   // neither the table nor the roll has them
	kept    string // the columns that keep their last known value, because the table's is too large
}

func (r *result) readLooks(rows pgx.Rows) error {
	r.seen = map[string]seen{}
	var id string
	var s seen
	_, err := pgx.ForEachRow(rows, []any{&id, &s.living, &s.written, &s.doubt, &s.unknown, &s.kept}, func() error {
		r.seen[id] = s
		return nil
	})
	return err
}

// conclude gives the events their outcomes and returns those whose users have not been read.
func (s *signals) conclude(l *look, done *result) (unread []int) {
	maps.Copy(l.fresh, done.fresh)
	for _, at := range s.list {
		e := &l.events[at]
		found, ok := done.seen[e.UserID]
		l.living = l.living || found.living
		switch {
		case !ok:
			unread = append(unread, at)
		case found.doubt:
			l.doubtful = append(l.doubtful, at)
		default:
			if found.kept != "" && found.written {
				l.roll.targets.Log.Warn(saysKept, "source", e.Source, "user", e.UserID,
					"kept", found.kept, "reason", "the metadata takes more than limits.metadata, or its numbers have too many digits")
			}
			l.outcomes[at] = l.outcome(e, found, done)
			if l.outcomes[at] == event.Stale {
				l.explainStale(at, found.unknown)
			}
		}
	}
	return unread
}

func (l *look) outcome(e *event.Event, found seen, done *result) event.Outcome {
	if e.ID != "" && (l.answered[eventKeyOf(e)] || !l.fresh[eventKeyOf(e)]) {
		return event.Duplicate
	}
	l.answered[eventKeyOf(e)] = e.ID != ""
	switch {
	case !found.living && !found.written:
		return event.Stale
	case done.parked[settle.Key{Roll: &event.Users, Source: e.Source, ID: e.UserID}]:
		return event.Parked
	default:
		return event.Applied
	}
}

// explainStale notes a stale event. One that says that a user was created or changed, that neither
// the table nor the roll has, may be another project's.
func (l *look) explainStale(at int, unknown bool) {
	e := &l.events[at]
	if e.ID != "" {
		l.stale = append(l.stale, at)
	}
	if !unknown {
		return
	}
	giveReason(e, fmt.Sprintf(notInTable, l.source.table))
	if e.Op == event.Upsert && l.source.unlisted.many(time.Now()) {
		l.roll.targets.Log.Warn("many events are about users who are not in the table of users: are they another project's, or is this the wrong database?",
			"source", l.source.name, "table", l.source.table, "events", manyUnlisted, "within_seconds", time.Minute.Seconds())
	}
}
