// Package settle brings users of the targets up to date with the roll. A transaction is a value (Work), which
// says what it does to the roll and which users it settles; Commit runs it in one round trip, and target by
// target where one refuses a user:
//
//	targets := settle.New(pool, configured, 20, log)
//	findings, err := targets.Check(ctx)
//	parked, err := targets.Commit(ctx, settle.LockWork(users))
//
// It hides how a target that refuses users, hangs or is gone is kept apart from the others: savepoints, halving, parked
// users, breakers.
package settle

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

// Targets are the targets of a configuration, in and out of service, and the transactions that
// settle users in them.
type Targets struct {
	Pool *connection.Pool
	Log  *slog.Logger
	// Attempts is how often a parked user is tried before they are given up.
	Attempts atomic.Int32
	// ExplainTime bounds all questions about the users that a target refuses in one batch. One question may take two
	// fifths of it. It is set before the first batch.
	ExplainTime time.Duration

	changing sync.Mutex // of now
	now      atomic.Pointer[set]
	dry      *dryRun // the transaction that everything is part of and that is rolled back; nil nearly always
}

// set is the targets of a configuration, all of one moment.
type set struct {
	configured  []target.Target
	fingerprint int32
	compiled    []*catalog.Compiled // in the order of settling
}

// New prepares the targets; none is in service before Check.
func New(pool *connection.Pool, list []target.Target, attempts int, log *slog.Logger) *Targets {
	ts := &Targets{Pool: pool, Log: log, ExplainTime: explainTime}
	ts.Attempts.Store(int32(attempts)) //nolint:gosec // the configuration's own check keeps it small
	ts.now.Store(&set{configured: list, fingerprint: target.Fingerprint(list)})
	return ts
}

// Configured are the targets in the order of the configuration; Check compiles them.
func (ts *Targets) Configured() []target.Target { return ts.now.Load().configured }

// Fingerprint tells this set of targets from another one. A transaction reads it before it reads All: what it notes as
// settled for a set is settled for that one, or for a later one.
func (ts *Targets) Fingerprint() int32 { return ts.now.Load().fingerprint }

// Check compiles every target against the catalog and puts the result into service. The
// findings are about single targets, which stay out of service; an error means that the
// database could not be asked and that nothing has changed.
func (ts *Targets) Check(ctx context.Context) ([]target.Finding, error) {
	check, err := ts.check(ctx, ts.Configured())
	if err != nil {
		return nil, err
	}
	return check.conclude(), nil
}

// check compiles targets, in several sessions.
func (ts *Targets) check(ctx context.Context, configured []target.Target) (*check, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	check, err := ts.newCheck(ctx, ts.Pool, configured)
	if err != nil {
		return nil, fmt.Errorf("check the targets: %w", ts.Pool.Explain(err))
	}
	var checking sync.WaitGroup
	sessions := min(checkers, len(configured))
	missing := make(chan error, sessions) // the others do without
	for range sessions {
		checking.Go(func() {
			had := false
			err := ts.Within(ctx, func(conn *pgx.Conn) error {
				had = true
				return event.Safely(func() error { return check.run(ctx, conn) })
			})
			switch {
			case err != nil && had:
				cancel(err)
			case err != nil:
				missing <- err
			}
		})
	}
	checking.Wait()
	if sessions > 0 && len(missing) == sessions {
		cancel(<-missing)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("check the targets: %w", ts.Pool.Explain(err))
	}
	return check, nil
}

// Compile compiles targets that may take the place of others; Exchange does that. The findings are those of Check.
func (ts *Targets) Compile(ctx context.Context, configured []target.Target) ([]*catalog.Compiled, []target.Finding, error) {
	check, err := ts.check(ctx, configured)
	if err != nil {
		return nil, nil, err
	}
	return check.compiled, slices.Concat(check.found...), nil
}

// Exchange puts a configuration into service: its fresh targets, new or changed, as Compile has made them, and the
// others as they are by now. A transaction ends with the targets that it began with. A target is new whose table is
// another one than before.
func (ts *Targets) Exchange(ctx context.Context, configured []target.Target, fresh []*catalog.Compiled) error {
	for _, now := range fresh {
		if before := ts.Named(now.Name); before != nil {
			if err := forgetFilling(ctx, ts.Pool.Exec, before, now); err != nil {
				return fmt.Errorf("note that the table of a target is another: %w", ts.Pool.Explain(err))
			}
		}
	}
	ts.changing.Lock()
	defer ts.changing.Unlock()
	list := slices.Clone(fresh)
	for i := range configured {
		t := &configured[i]
		if slices.ContainsFunc(fresh, func(f *catalog.Compiled) bool { return f.Name == t.Name }) {
			continue
		}
		kept := *ts.Named(t.Name)
		kept.Target = t // it stands elsewhere in the file
		list = append(list, &kept)
	}
	ts.now.Store(&set{configured, target.Fingerprint(configured), inOrder(list)})
	return nil
}

// CheckOn is Check in a session, which may have a transaction open.
func (ts *Targets) CheckOn(ctx context.Context, conn *pgx.Conn) ([]target.Finding, error) {
	check, err := ts.newCheck(ctx, conn, ts.Configured())
	if err != nil {
		return nil, err
	}
	if err := check.run(ctx, conn); err != nil {
		return nil, err
	}
	return check.conclude(), nil
}

// checkers is how many sessions compile targets at once: PostgreSQL plans in one while Rollcall works on another.
// Two are left of the pool.
const checkers = 4

// check is a check under way, in one session or several.
type check struct {
	*Targets
	configured []target.Target
	states     map[string]catalog.State // before, by target
	next       atomic.Int64             // of configured
	compiled   []*catalog.Compiled
	found      [][]target.Finding
}

func (ts *Targets) newCheck(ctx context.Context, on connection.Querier, configured []target.Target) (*check, error) {
	n := len(configured)
	states, err := catalog.ReadStates(ctx, on, configured...)
	compiled, found := make([]*catalog.Compiled, n), make([][]target.Finding, n)
	return &check{Targets: ts, configured: configured, states: states, compiled: compiled, found: found}, err
}

// run compiles target after target until none is left.
func (c *check) run(ctx context.Context, conn *pgx.Conn) error {
	for at := c.next.Add(1) - 1; at < int64(len(c.configured)); at = c.next.Add(1) - 1 {
		t := &c.configured[at]
		var err error
		if c.compiled[at], c.found[at], err = catalog.Compile(ctx, conn, t, c.states[t.Name]); err != nil {
			return err
		}
	}
	return nil
}

// conclude puts into service what was compiled.
func (c *check) conclude() []target.Finding {
	var all []target.Finding
	list := make([]*catalog.Compiled, 0, len(c.compiled))
	for i, now := range c.compiled {
		found := c.found[i]
		before := c.inService(now.Name)
		passing := !slices.ContainsFunc(found, func(f target.Finding) bool { return !f.Passing })
		if before != nil && passing && now.Outage != nil && before.Target.Alike(now.Target) {
			now, found = before, nil
		}
		list, all = append(list, now), append(all, found...)
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	c.now.Store(&set{c.configured, target.Fingerprint(c.configured), inOrder(list)})
	return all
}

// All are the targets in the order of settling, in service or not.
func (ts *Targets) All() []*catalog.Compiled { return ts.now.Load().compiled }

// inService returns a target that works, or nil.
func (ts *Targets) inService(name string) *catalog.Compiled {
	if t := ts.Named(name); t != nil && t.Outage == nil {
		return t
	}
	return nil
}

// Named returns a target, in service or not; nil when there is none.
func (ts *Targets) Named(name string) *catalog.Compiled {
	targets := ts.All()
	if at := slices.IndexFunc(targets, func(t *catalog.Compiled) bool { return t.Name == name }); at >= 0 {
		return targets[at]
	}
	return nil
}

func works(t *catalog.Compiled) bool { return t.Outage == nil }

// names are those of some targets.
func names(targets []*catalog.Compiled, which func(*catalog.Compiled) bool) []string {
	list := []string{}
	for _, t := range targets {
		if which(t) {
			list = append(list, t.Name)
		}
	}
	return list
}

// newest is a target as it was compiled last: its table may have changed since t was. One that is
// out of service now is no better.
func (ts *Targets) newest(t *catalog.Compiled) *catalog.Compiled {
	if t == nil {
		return nil
	}
	if now := ts.inService(t.Name); now != nil {
		return now
	}
	return t
}

// State is how a target is doing.
type State struct {
	Name   string
	Table  string
	Outage string // why it is out of service; empty when it works
	OID    uint32 // of the table; 0 while there is none that fits
}

// States returns the state of every target, in the order of settling.
func (ts *Targets) States() []State {
	var states []State
	for _, t := range ts.All() {
		s := State{Name: t.Name, Table: t.Table, OID: t.OID}
		if t.Outage != nil {
			s.Outage = t.Outage.Message
		}
		states = append(states, s)
	}
	return states
}

// Statements returns the compiled statements of a target for people to read; empty for
// one that is out of service.
func (ts *Targets) Statements(target string) []string {
	t := ts.inService(target)
	if t == nil {
		return nil
	}
	shown := t.Compiler.Shown()
	return slices.DeleteFunc([]string{shown.Removal, shown.Adoption, shown.Upsert}, func(s string) bool { return s == "" })
}

// inOrder puts parents before the tables that reference them, and otherwise goes by name.
// Members of a circle keep their names' order.
func inOrder(targets []*catalog.Compiled) []*catalog.Compiled {
	rest := slices.Clone(targets)
	slices.SortFunc(rest, func(a, b *catalog.Compiled) int { return strings.Compare(a.Name, b.Name) })
	ordered := make([]*catalog.Compiled, 0, len(rest))
	for len(rest) > 0 {
		next := slices.IndexFunc(rest, func(t *catalog.Compiled) bool {
			return !slices.ContainsFunc(rest, func(o *catalog.Compiled) bool { return t.References(o) })
		})
		next = max(next, 0)
		ordered = append(ordered, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	return ordered
}
