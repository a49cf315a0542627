package roll

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
)

// A source whose table of users is in this database, and may be read, is a table source: the row
// in that table is the truth, and whatever is said about a user is a signal to look at it.

// tableSource is the table of a source.
type tableSource struct {
	name, table string
	read        string // readUsers
	readIDs     string // the same, with the outbox of ids
	bring       string // bringUsers
	forgetGone  string
	strict      bool // the role sees all rows, whatever the policies are

	unlisted unlisted
}

// reading are steps that read the table: where the role sees all rows, a policy that would hide some is an error.
func (t *tableSource) reading(steps ...settle.Step) []settle.Step {
	if !t.strict {
		return steps
	}
	off := settle.Step{Kind: settle.Writing, SQL: "set local row_security = off"}
	on := settle.Step{Kind: settle.Writing, SQL: "set local row_security = on"}
	return slices.Concat([]settle.Step{off}, steps, []settle.Step{on})
}

// signalBytes bounds what one transaction reads of the table, as readUsers counts.
const signalBytes = 16 << 20

// Follow makes a source a table source from now on. Its error says why the table can't be read;
// it wraps directory.ErrUnseen where that is the table's affair, and ends a table source. After other errors
// the source stays what it was.
func (r *Roll) Follow(ctx context.Context, source, table string) error {
	r.outbox.Heed(table)
	u, err := r.directory.Users(ctx, source, table)
	if t := r.followed(source); t != nil && errors.Is(err, directory.ErrUnseen) {
		r.unfollow(t, err)
	}
	if err != nil {
		return err
	}
	if len(u.Empty) > 0 && !r.Follows(source) {
		r.targets.Log.Warn("columns of the table of users can't be read, and stay empty; run rollcall capture install again, or grant select on them",
			"source", source, "table", table, "columns", strings.Join(u.Empty, " "))
	}
	bring, forget := bringFrom(u)
	r.changeFollowed(func(all map[string]*tableSource) {
		all[source] = &tableSource{
			name: source, table: table, strict: u.Strict, bring: bring, forgetGone: forget,
			read: readUsersFrom(u.RowsOfIDs(), ""), readIDs: readUsersFrom(u.RowsOfIDs(), notedIDs),
		}
	})
	return nil
}

// Follows reports whether a source is a table source.
func (r *Roll) Follows(source string) bool { return r.followed(source) != nil }

// Signal reports whether an event is a signal to look at its user in the table of its source.
func (r *Roll) Signal(e *event.Event) bool {
	switch e.Op {
	case event.Upsert, event.Delete, event.Settle, event.Look:
		return r.Follows(e.Source)
	default:
		return false
	}
}

// bodiless reports whether an event only names a user to look at: it was made for a table source, which
// the source may no longer be.
func bodiless(e *event.Event) bool {
	return e.User == nil && (e.Op == event.Look || e.Op == event.Delete || e.Op == event.Upsert)
}

func (r *Roll) followed(source string) *tableSource {
	all := r.tables.Load()
	if all == nil {
		return nil
	}
	return (*all)[source]
}

func (r *Roll) changeFollowed(change func(map[string]*tableSource)) {
	r.changing.Lock()
	defer r.changing.Unlock()
	all := map[string]*tableSource{}
	if before := r.tables.Load(); before != nil {
		maps.Copy(all, *before)
	}
	change(all)
	r.tables.Store(&all)
}

// unfollow ends a table source: what is said about its users counts by its version again, until
// Follow succeeds.
func (r *Roll) unfollow(t *tableSource, cause error) {
	was := false
	r.changeFollowed(func(all map[string]*tableSource) {
		if was = all[t.name] == t; was {
			delete(all, t.name)
		}
	})
	if !was {
		return // another batch has noticed it, too
	}
	r.targets.Log.Error("the table of users can't be read any more: until it can, changes count by their version, captured ones wait, and the next reconciliation corrects the rest",
		"source", t.name, "table", t.table, "error", sqlstate.Text(cause))
}

// unlisted counts signals about users that neither the table nor the roll has.
type unlisted struct {
	mu    sync.Mutex
	since time.Time
	n     int
}

// manyUnlisted within a minute are no coincidence: hooks of another project come here.
const manyUnlisted = 20

// many reports, once a minute, that another signal makes them many.
func (s *unlisted) many(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.since) > time.Minute {
		s.since, s.n = now, 0
	}
	s.n++
	return s.n == manyUnlisted
}
