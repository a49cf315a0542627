package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
	"rollcall/sql"
)

// A target's breaker: what PostgreSQL says about the table as a whole takes the target out
// of service, so that no transaction waits for it again; a probe puts it back.

// trip takes a target out of service.
func (db *DB) trip(t *compiled, why *pgconn.PgError) {
	what := sqlstate.Message(why)
	switch why.Code {
	case sqlstate.LockNotAvailable:
		what = "another session holds the table: " + what
	case sqlstate.QueryCanceled:
		what = "it takes too long: " + what
	}
	db.replace(t.Name, func(now *compiled) *compiled {
		if now.outage != nil || now.state.hash != t.state.hash { // compiled anew meanwhile
			return now
		}
		broken := *now
		broken.outage = &outage{state: why.Code, message: fmt.Sprintf("%s (%s)", what, why.Code)}
		return &broken
	})
}

// replace changes one target for every transaction that begins from now on.
func (db *DB) replace(name string, change func(*compiled) *compiled) {
	db.changing.Lock()
	defer db.changing.Unlock()
	list := slices.Clone(*db.targets.Load())
	for i, t := range list {
		if t.Name == name {
			list[i] = change(t)
		}
	}
	list = inOrder(list) // a table may reference another one now
	db.targets.Store(&list)
}

// Probe looks again at the targets that are out of service and puts those back that fit their
// tables and can be written; their parked users are due at once.
func (db *DB) Probe(ctx context.Context) error {
	var failed error
	for _, t := range *db.targets.Load() {
		if t.outage == nil {
			continue
		}
		if err := db.probe(ctx, t); err != nil {
			failed = errors.Join(failed, fmt.Errorf("probe target %s: %w", t.Name, db.pool.Explain(err)))
		}
	}
	return failed
}

func (db *DB) probe(ctx context.Context, t *compiled) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer leave(conn.Conn())
	now, found, err := compileTarget(ctx, conn.Conn(), t.Target)
	if err == nil && t.outage == nil && slices.ContainsFunc(found, func(f target.Finding) bool { return f.Passing }) {
		return nil // it stays in service until it can be checked
	}
	if err == nil && now.outage == nil && t.outage != nil {
		err = db.try(ctx, conn.Conn(), now)
	}
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused):
		return nil // as it was
	case err != nil:
		return err
	}
	now.oid = cmp.Or(now.oid, t.oid) // which table it was, as long as there is none that fits
	if err := forgetFilling(ctx, conn.Conn(), t, now); err != nil {
		return err
	}
	db.replace(t.Name, func(*compiled) *compiled { return now })
	if now.outage != nil {
		return nil
	}
	return db.makeDue(ctx, conn.Conn(), t.Name)
}

// forgetFilling makes a target new whose table is another one than before: it lacks all users
// that are not parked. A filling of the new table that has begun stays. A replica that has
// not looked since another's probe may forget a good one: a backfill too many does no harm.
func forgetFilling(ctx context.Context, conn *pgx.Conn, before, now *compiled) error {
	if before.oid == 0 || before.oid == now.oid {
		return nil
	}
	_, err := conn.Exec(ctx, sql.BackfillForget, now.Name, now.oid)
	return err
}

// makeDue has all parked users of a target tried at once, a part at a time: live events write
// the same table.
func (db *DB) makeDue(ctx context.Context, conn *pgx.Conn, target string) error {
	for {
		tag, err := conn.Exec(ctx, sql.MakeDue, target, catchUpPage)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
	}
}

// try finds out whether a target can be written: its table can be had at once, its statements
// run for no user, and they don't hang for one of the parked users, picked at random. An error about
// this user alone does not count against the target. All of it is undone again, and the roll isn't
// locked, so that live events don't wait for a table that hangs.
func (db *DB) try(ctx context.Context, conn *pgx.Conn, t *compiled) error {
	const one = "select source, user_id from rollcall.parked where target = $1 order by pg_catalog.random() limit 1"
	rows, _ := conn.Query(ctx, one, t.Name)
	users, err := collectKeys(rows)
	if err != nil {
		return err
	}
	if err := db.rehearse(ctx, conn, t, nil); err != nil {
		return err
	}
	err = db.rehearse(ctx, conn, t, users)
	if state := sqlstate.Of(err); state != "" && state != sqlstate.QueryCanceled {
		return nil
	}
	return err
}

// rehearse runs a target's statements for users and undoes them.
func (db *DB) rehearse(ctx context.Context, conn *pgx.Conn, t *compiled, users []userKey) error {
	defer leave(conn)
	sources, ids := keyArrays(users)
	steps := begin([]any{connection.Milliseconds(askingLock), connection.Milliseconds(askingStatement)})
	if t.lockable {
		steps = append(steps, step{kind: locking, sql: t.lockTable() + " nowait"})
	}
	for _, s := range []string{t.Removal, t.Upsert} {
		if s != "" {
			steps = append(steps, step{kind: settling, sql: s, args: []any{sources, ids, true}})
		}
	}
	return run(ctx, conn, append(steps, constraints(), step{kind: undoing, sql: "rollback"}), &result{})
}
