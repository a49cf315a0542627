package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/sql"
)

// found is how a target has the users of a page.
type found struct {
	states   map[userKey]State // "" for a user who is gone, with no row left
	refused  []refusal         // those of them who can't be compared; they count as different
	repaired int               // users who were out of step before
}

func outOfStep(s State) bool { return s == Missing || s == Extra || s == Different || s == Parked }

// outOfStep picks those of the users, in their order.
func (f *found) outOfStep(users []userKey) []userKey {
	return slices.DeleteFunc(slices.Clone(users), func(u userKey) bool { return !outOfStep(f.states[u]) })
}

// uncountable: a target's table, as a whole, does not let itself be looked at.
type uncountable struct{ cause error }

func (u *uncountable) Error() string { return "it can't be counted: " + sqlstate.Text(u.cause) }

// find says how a target has users, in key order. If the statement fails, the users that it
// fails for are found by halves.
func (db *DB) find(ctx context.Context, t *compiled, users []userKey) (*found, error) {
	f, err := db.ask(ctx, t, users)
	if err == nil || sqlstate.Of(err) == "" {
		return f, err
	}
	refused, err := db.refusals(ctx, piece{target: t, statement: t.Census}, users, censusRefused)
	if err != nil {
		return nil, sorted(err)
	}
	if f, err = db.ask(ctx, t, without(users, refused)); err != nil {
		return nil, sorted(err) // it fails for nobody in particular
	}
	f.refused = refused
	for _, r := range refused {
		f.states[r.user] = Different
	}
	return f, nil
}

// sorted tells what keeps one target from being counted from what keeps all.
func sorted(err error) error {
	if b := sqlstate.ClassOf(err); b == sqlstate.Retry || b == sqlstate.Server {
		return err
	}
	return &uncountable{err}
}

func (db *DB) ask(ctx context.Context, t *compiled, users []userKey) (*found, error) {
	f := &found{states: make(map[userKey]State, len(users))}
	sources, ids := keyArrays(users)
	err := db.look(ctx, step{kind: reading, sql: t.Census, args: []any{sources, ids, true}, read: func(rows pgx.Rows, _ *result) error {
		return readStates(rows, f.states)
	}})
	return f, err
}

// readStates reads what a census has said.
func readStates(rows pgx.Rows, into map[userKey]State) error {
	var u userKey
	var state *string
	_, err := pgx.ForEachRow(rows, []any{&u.source, &u.id, &state}, func() error {
		into[u] = ""
		if state != nil {
			into[u] = State(*state)
		}
		return nil
	})
	return err
}

// look runs a statement in a read only transaction, in one round trip.
func (db *DB) look(ctx context.Context, s step) error {
	err := db.within(ctx, func(conn *pgx.Conn) error {
		opening := step{kind: beginning, sql: "begin isolation level read committed read only"}
		return run(ctx, conn, []step{opening, settings(db.censusTimeouts()), s, end()}, &result{})
	})
	return db.pool.Explain(err)
}

// refusals returns the users that a piece fails for, the first of them with the reason; what it does is
// undone.
func (db *DB) refusals(ctx context.Context, p piece, users []userKey, explained int) ([]refusal, error) {
	var refused []refusal
	err := connection.ReadOnly(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql.Settings, db.censusTimeouts()...); err != nil {
			return err
		}
		var err error
		if refused, err = settleApart(ctx, tx.Conn(), p, users); err != nil {
			return err
		}
		return findReasons(ctx, tx.Conn(), p.target, refused[:min(len(refused), explained)])
	})
	return refused, err
}

func (db *DB) censusTimeouts() []any {
	return []any{connection.Milliseconds(db.pool.LockTimeout), connection.Milliseconds(censusTimeout)}
}
