package settle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// A target's breaker: what PostgreSQL says about the table as a whole takes the target out
// of service, so that no transaction waits for it again; a probe puts it back.

// trip takes a target out of service.
func (ts *Targets) trip(t *catalog.Compiled, why *pgconn.PgError) {
	what := sqlstate.Message(why)
	switch why.Code {
	case sqlstate.LockNotAvailable:
		what = "another session holds the table: " + what
	case sqlstate.QueryCanceled:
		what = "it takes too long: " + what
	}
	ts.replace(t, func(now *catalog.Compiled) *catalog.Compiled {
		if now.Outage != nil || now.State.Hash != t.State.Hash { // compiled anew meanwhile
			return now
		}
		broken := *now
		broken.Outage = &catalog.Outage{State: why.Code, Message: fmt.Sprintf("%s (%s)", what, why.Code)}
		return &broken
	})
}

// replace changes one target for every transaction that begins from now on, unless it is another by now.
func (ts *Targets) replace(of *catalog.Compiled, change func(*catalog.Compiled) *catalog.Compiled) {
	ts.changing.Lock()
	defer ts.changing.Unlock()
	now := *ts.now.Load()
	list := slices.Clone(now.compiled)
	for i, t := range list {
		if t.Target == of.Target {
			list[i] = change(t)
		}
	}
	now.compiled = inOrder(list) // a table may reference another one now
	ts.now.Store(&now)
}

// Probe looks again at the targets that are out of service and puts those back that fit their
// tables and can be written; their parked users are due at once.
func (ts *Targets) Probe(ctx context.Context) error {
	var failed error
	for _, t := range ts.All() {
		if t.Outage == nil {
			continue
		}
		if err := ts.Renew(ctx, t); err != nil {
			failed = errors.Join(failed, fmt.Errorf("probe target %s: %w", t.Name, ts.Pool.Explain(err)))
		}
	}
	return failed
}

// Renew compiles a target anew, and puts it into service if it fits its table and can be written.
func (ts *Targets) Renew(ctx context.Context, t *catalog.Compiled) error {
	conn, err := ts.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer Leave(conn.Conn())
	var now *catalog.Compiled
	var found []target.Finding
	states, err := catalog.ReadStates(ctx, conn, *t.Target)
	if err == nil {
		now, found, err = catalog.Compile(ctx, conn.Conn(), t.Target, states[t.Name])
	}
	if err == nil && t.Outage == nil && slices.ContainsFunc(found, func(f target.Finding) bool { return f.Passing }) {
		return nil // it stays in service until it can be checked
	}
	if err == nil && now.Outage == nil && t.Outage != nil {
		err = ts.try(ctx, conn.Conn(), now)
	}
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return nil // as it was
	}
	if err != nil {
		return err
	}
	now.OID = cmp.Or(now.OID, t.OID) // which table it was, as long as there is none that fits
	if err := forgetFilling(ctx, conn.Exec, t, now); err != nil {
		return err
	}
	ts.replace(t, func(*catalog.Compiled) *catalog.Compiled { return now })
	if now.Outage != nil {
		return nil
	}
	_, err = inParts(ctx, conn.Exec, makeDueSQL, t.Name, nil, false)
	return err
}

// forgetFilling makes a target new whose table is another one than before: it lacks all users
// that are not parked. A filling of the new table that has begun stays. A replica that has
// not looked since another's probe may forget a good one: a backfill too many does no harm.
func forgetFilling(ctx context.Context, exec execute, before, now *catalog.Compiled) error {
	if before.OID == 0 || before.OID == now.OID {
		return nil
	}
	_, err := exec(ctx, forgetFillingSQL, now.Name, now.OID)
	return err
}

// try finds out whether a target can be written: its table can be had at once, its statements
// run for no user, and they don't hang for one of the parked users, picked at random. An error about
// this user alone does not count against the target. All of it is undone again, and the roll isn't
// locked, so that live events don't wait for a table that hangs.
func (ts *Targets) try(ctx context.Context, conn *pgx.Conn, t *catalog.Compiled) error {
	const one = "select source, user_id from rollcall.parked where target = $1 order by sqlstate = $2, pg_catalog.random() limit 1"
	rows, _ := conn.Query(ctx, one, t.Name, sqlstate.IntegrityViolation) // a user that match refuses gets no further than that
	users, err := CollectKeys(rows, t.Roll)
	if err != nil {
		return err
	}
	if err := ts.rehearse(ctx, conn, t, nil); err != nil {
		return err
	}
	err = ts.rehearse(ctx, conn, t, users)
	if state := sqlstate.Of(err); state != "" && state != sqlstate.QueryCanceled {
		return nil
	}
	return err
}

// rehearse runs a target's statements for users and undoes them.
func (ts *Targets) rehearse(ctx context.Context, conn *pgx.Conn, t *catalog.Compiled, users []Key) error {
	defer Leave(conn)
	sources, ids := KeyArrays(users)
	steps := Begin([]any{connection.Milliseconds(askingLock), connection.Milliseconds(askingStatement)})
	if t.Lockable {
		steps = append(steps, Step{Kind: locking, SQL: t.LockTable() + " nowait"})
	}
	for _, s := range []string{t.Removal, t.Adoption, t.Upsert} {
		if s != "" {
			steps = append(steps, Step{Kind: settling, SQL: s, Args: []any{sources, ids, true}})
		}
	}
	return Run(ctx, conn, append(steps, constraints(), Step{Kind: Undoing, SQL: "rollback"}))
}
