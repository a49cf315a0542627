package audit

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
)

// Overruled counts the users whose rows differ from set because the application's own triggers decide
// otherwise. No repair changes that.
type Overruled struct {
	Target string `json:"target"`
	// State is Suppressed or Rewritten.
	State State `json:"state"`
	Users int64 `json:"users"`
	// Source and ID are of the first of them, Columns those that differ in that row.
	Source  string   `json:"source"`
	ID      string   `json:"id"`
	Columns []string `json:"columns,omitempty"`
	// Triggers are those of the table that may have decided so, with their functions.
	Triggers []string `json:"triggers"`
}

// trial is what settling would do to users who are out of step.
type trial struct {
	states        map[settle.Key]State // afterwards; refused users have none
	before, after map[settle.Key]rowState
	triggers      []string // of the table, those that run before a row is written first
}

// statesOf finds out the state of users in a target, after the repair if there is to be one, and for
// which of them a trigger decides it.
func (c *counting) statesOf(ctx context.Context, t *catalog.Compiled, users []settle.Key) (*found, error) {
	now, err := c.repaired(ctx, t, users)
	if err != nil {
		return nil, err
	}
	return now, c.overrule(ctx, t, now)
}

// overrule finds the users out of step that settling would leave as they are, because of a trigger: it
// settles them in a transaction that is rolled back. If it finds none among the first, it tries no
// others of the target: without a repair these may be all users of the roll.
func (c *counting) overrule(ctx context.Context, t *catalog.Compiled, now *found) error {
	if !t.Triggers || c.untried[t.Name] {
		return nil
	}
	var users []settle.Key
	for u, s := range now.states {
		if outOfStep(s) && s != Parked {
			users = append(users, u)
		}
	}
	for _, r := range now.refused {
		users = slices.DeleteFunc(users, func(u settle.Key) bool { return u == r.User })
	}
	slices.SortFunc(users, settle.CompareKeys)
	for some := range slices.Chunk(users, repairUsers) {
		tried, err := c.audit.trySettling(ctx, t, some)
		if err != nil {
			if sqlstate.Of(err) == "" && !settle.FailedFor(err, settle.RollBusy) {
				return err
			}
			c.audit.Targets.Log.Debug("what triggers decide is not known", "target", t.Name, "error", sqlstate.Text(err))
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
func (t *trial) overruled(u settle.Key, before State) State {
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

func (c *counting) note(t *catalog.Compiled, u settle.Key, state State, tried *trial) {
	key := overruledKey{t.Name, state}
	if c.overruled[key] == nil {
		o := &Overruled{Target: t.Name, State: state, Source: u.Source, ID: u.ID, Triggers: tried.triggers}
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
	for _, t := range c.audit.Targets.Configured() {
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
func (a *Audit) trySettling(ctx context.Context, t *catalog.Compiled, users []settle.Key) (*trial, error) {
	done := &trial{states: map[settle.Key]State{}, before: map[settle.Key]rowState{}, after: map[settle.Key]rowState{}}
	err := a.Targets.Within(ctx, func(conn *pgx.Conn) error {
		w := settle.SettleWork(t, users)
		steps := slices.Concat(settle.Begin(a.Targets.Pool.Timeouts()), w.Table(settle.Asking), w.Open, []settle.Step{differences(t, users, done.before)})
		if err := settle.Run(ctx, conn, steps); err != nil {
			return err
		}
		left := users
		for _, p := range w.Pieces([]*catalog.Compiled{t}) {
			refused, err := settle.RunIsolated(ctx, conn, p, left)
			if err != nil {
				return err
			}
			left = settle.Without(left, refused)
		}
		steps = append(settle.Restore(a.Targets.Pool.Timeouts()), // what a trigger has set must not change what is read
			states(t, left, done.states), differences(t, left, done.after),
			settle.Step{Kind: settle.Reading, SQL: rowTriggersSQL, Args: []any{t.OID}, Read: func(rows pgx.Rows) (err error) {
				done.triggers, err = pgx.CollectRows(rows, pgx.RowTo[string])
				return err
			}})
		return settle.Run(ctx, conn, steps)
	})
	return done, a.Targets.Pool.Explain(err)
}
