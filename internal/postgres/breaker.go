package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/sql"
)

// A target's breaker: what PostgreSQL says about the table as a whole takes the target out
// of service, so that nobody waits for it again; a probe puts it back.

// trip takes a target out of service.
func (db *DB) trip(t *compiled, why *pgconn.PgError) {
	what := say(why)
	switch why.Code {
	case lockNotAvailable:
		what = "somebody else holds the table: " + what
	case queryCanceled:
		what = "it takes too long: " + what
	}
	db.replace(t.Name, func(now *compiled) *compiled {
		if now.outage != nil {
			return now
		}
		broken := *now
		broken.outage = &outage{state: why.Code, message: fmt.Sprintf("%s (%s)", what, why.Code)}
		return &broken
	})
}

// replace changes one target for everybody who begins a transaction from now on.
func (db *DB) replace(name string, change func(*compiled) *compiled) {
	db.changing.Lock()
	defer db.changing.Unlock()
	list := slices.Clone(*db.targets.Load())
	for i, t := range list {
		if t.Name == name {
			list[i] = change(t)
		}
	}
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
			failed = errors.Join(failed, fmt.Errorf("probe target %s: %w", t.Name, db.explainConnect(err)))
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
	now, _, err := checkTarget(ctx, conn.Conn(), t.Target)
	if err == nil && now.outage == nil {
		err = db.try(ctx, conn.Conn(), now)
	}
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused):
		return nil // as it was
	case err != nil:
		return err
	}
	db.replace(t.Name, func(*compiled) *compiled { return now })
	if now.outage != nil {
		return nil
	}
	return db.makeDue(ctx, conn.Conn(), t.Name)
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

// maxAlone is for how many of the users by whom a target is tried out its statements may hang
// while others pass: it is their affair then, and of more the table's.
const maxAlone = 2

// try finds out whether a target can be written: its table can be had at once, its statements
// run for nobody, and they don't hang for parked users, each by himself. What one of them is
// refused for is his affair; so is it if they hang for him alone, and he is set aside. All of
// it is undone again, and the roll isn't locked, so that live events don't wait for a table
// that hangs.
func (db *DB) try(ctx context.Context, conn *pgx.Conn, t *compiled) error {
	rows, _ := conn.Query(ctx, sql.ProbeUsers, t.Name)
	users, err := collectKeys(rows)
	if err != nil {
		return err
	}
	if err := db.rehearse(ctx, conn, t, nil); err != nil {
		return err
	}
	hung, why, err := db.hangFor(ctx, conn, t, users)
	if len(hung) > maxAlone || len(hung) == len(users) && why != nil {
		return why
	}
	if err == nil && len(hung) > 0 { // was the server busy for a moment?
		hung, _, err = db.hangFor(ctx, conn, t, hung)
	}
	if err != nil || len(hung) == 0 {
		return err
	}
	return db.setAside(ctx, conn, t, hung)
}

// hangFor returns for whom of some users a target's statements hang, each by himself, and what
// PostgreSQL says then. More than maxAlone it doesn't look for.
func (db *DB) hangFor(ctx context.Context, conn *pgx.Conn, t *compiled, users []userKey) (hung []userKey, why error, err error) {
	for _, u := range users {
		err := db.rehearse(ctx, conn, t, []userKey{u})
		switch state := stateOf(err); {
		case state == queryCanceled:
			hung, why = append(hung, u), err
		case state == "" && err != nil:
			return hung, why, err
		}
		if len(hung) > maxAlone {
			break
		}
	}
	return hung, why, nil
}

// setAside has users for whom alone a target hangs wait for long, so that they don't take it
// out of service again at once.
func (db *DB) setAside(ctx context.Context, conn *pgx.Conn, t *compiled, users []userKey) error {
	sources, ids := keyArrays(users)
	const message = "it takes too long for this user, and not for others"
	_, err := conn.Exec(ctx, sql.SetAside, t.Name, sources, ids, queryCanceled, message, db.config.Attempts)
	for _, u := range users {
		db.log.Warn("set aside", "target", t.Name, "source", u.source, "user", u.id, "sqlstate", queryCanceled, "error", message)
	}
	return err
}

// rehearse runs a target's statements for users and undoes them.
func (db *DB) rehearse(ctx context.Context, conn *pgx.Conn, t *compiled, users []userKey) error {
	defer leave(conn)
	sources, ids := keyArrays(users)
	steps := []statement{{sql: sql.Begin}, {sql: sql.Settings, args: []any{milliseconds(askingLock), milliseconds(askingStatement)}}}
	if t.lockable {
		steps = append(steps, statement{sql: t.lockTable() + " nowait"})
	}
	for _, s := range []string{t.removal, t.upsert} {
		if s != "" {
			steps = append(steps, statement{sql: s, args: []any{sources, ids, true}})
		}
	}
	return pipeline(ctx, conn, append(steps, statement{sql: constraintsNow}, statement{sql: "rollback"}), &result{})
}
