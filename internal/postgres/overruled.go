package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/sql"
)

// Overruled counts the users whose rows differ from set because the application's own triggers decide
// otherwise. No repair changes that.
type Overruled struct {
	Target string
	// State is Suppressed or Rewritten.
	State State
	Users int64
	// Source and ID are of the first of them, Columns those that differ in that row.
	Source, ID string
	Columns    []string
	// Triggers are those of the table that may have decided so, with their functions.
	Triggers []string
}

// trial is what settling would do to users who are out of step.
type trial struct {
	states        map[userKey]State // afterwards; refused users have none
	before, after map[userKey]rowState
	triggers      []string // of the table, those that run before a row is written first
}

// standingOf finds out the state of users in a target, after the repair if there is to be one, and for
// which of them a trigger decides it.
func (c *counting) standingOf(ctx context.Context, t *compiled, users []userKey) (*found, error) {
	now, err := c.repaired(ctx, t, users)
	if err != nil {
		return nil, err
	}
	return now, c.overrule(ctx, t, now)
}

// overrule finds the users out of step that settling would leave as they are, because of a trigger: it
// settles them in a transaction that is rolled back. If it finds none among the first, it tries no
// others of the target: without a repair these may be all users of the roll.
func (c *counting) overrule(ctx context.Context, t *compiled, now *found) error {
	if !t.triggers || c.untried[t.Name] {
		return nil
	}
	var users []userKey
	for u, s := range now.states {
		if outOfStep(s) && s != Parked {
			users = append(users, u)
		}
	}
	for _, r := range now.refused {
		users = slices.DeleteFunc(users, func(u userKey) bool { return u == r.user })
	}
	slices.SortFunc(users, compareKeys)
	for some := range slices.Chunk(users, censusRepair) {
		tried, err := c.db.trySettling(ctx, t, some)
		if err != nil {
			if sqlstate.Of(err) == "" && !failedFor(err, rollBusy) {
				return err
			}
			c.db.log.Debug("what triggers decide is not known", "target", t.Name, "error", sqlstate.Text(err))
			return nil // a lock, a trigger that hangs: the users stay as they were counted
		}
		proven := 0
		for _, u := range some {
			if state := tried.overruled(u, now.states[u]); state != "" {
				now.states[u] = state
				proven++
				c.note(t, u, state, tried)
			}
		}
		if proven == 0 && !c.repair {
			c.untried[t.Name] = true
			return nil
		}
	}
	return nil
}

// overruled is the state of a user whose row is the same before and after the try, else "".
func (t *trial) overruled(u userKey, before State) State {
	after := t.states[u]
	switch {
	case before != after || t.before[u].content != t.after[u].content:
		return ""
	case after == Different:
		return Rewritten
	default:
		return Suppressed
	}
}

func (c *counting) note(t *compiled, u userKey, state State, tried *trial) {
	key := overruledKey{t.Name, state}
	if c.overruled[key] == nil {
		o := &Overruled{Target: t.Name, State: state, Source: u.source, ID: u.id, Triggers: tried.triggers}
		if state == Rewritten {
			o.Columns = tried.after[u].columns
		}
		c.overruled[key] = o
	}
	c.overruled[key].Users++
}

// overrulings lists what triggers decide, in the order of the configuration.
func (c *counting) overrulings() []Overruled {
	var list []Overruled
	for _, t := range c.db.config.Targets {
		for _, s := range States {
			if o := c.overruled[overruledKey{t.Name, s}]; o != nil {
				list = append(list, *o)
			}
		}
	}
	return list
}

type overruledKey struct {
	target string
	state  State
}

// trySettling settles users as settle would, with the same order of locks, reads their states, and rolls
// all of it back. It does not wait for a lock on the table.
func (db *DB) trySettling(ctx context.Context, t *compiled, users []userKey) (*trial, error) {
	done := &trial{states: map[userKey]State{}, before: map[userKey]rowState{}, after: map[userKey]rowState{}}
	err := db.within(ctx, func(conn *pgx.Conn) error {
		w := settleWork(t, users)
		steps := slices.Concat(begin(db.pool.Timeouts()), w.table(asking), w.open, []step{t.differences(users, done.before)})
		if err := run(ctx, conn, steps, &result{}); err != nil {
			return err
		}
		left := users
		for _, p := range w.pieces([]*compiled{t}) {
			refused, err := settleApart(ctx, conn, p, left)
			if err != nil {
				return err
			}
			left = without(left, refused)
		}
		sources, ids := keyArrays(left)
		steps = append(restore(db.pool.Timeouts()), // what a trigger has set must not change what is read
			step{kind: reading, sql: t.Census, args: []any{sources, ids, true}, read: func(rows pgx.Rows, _ *result) error {
				return readStates(rows, done.states)
			}},
			t.differences(left, done.after),
			step{kind: reading, sql: sql.RowTriggers, args: []any{t.oid}, read: func(rows pgx.Rows, _ *result) (err error) {
				done.triggers, err = pgx.CollectRows(rows, pgx.RowTo[string])
				return err
			}})
		return run(ctx, conn, steps, &result{})
	})
	return done, db.pool.Explain(err)
}
