package audit

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// found is how a target has the users of a page.
type found struct {
	states   map[settle.Key]State // "" for a user who is gone, with no row left
	refused  []settle.Refusal     // those of them who can't be compared; they count as different
	repaired int                  // users who were out of step before
}

func outOfStep(s State) bool {
	return s == Missing || s == Adoptable || s == Extra || s == Different || s == Parked
}

// outOfStep picks those of the users, in their order.
func (f *found) outOfStep(users []settle.Key) []settle.Key {
	return slices.DeleteFunc(slices.Clone(users), func(u settle.Key) bool { return !outOfStep(f.states[u]) })
}

// uncountable: a target's table, as a whole, does not let itself be looked at.
type uncountable struct{ cause error }

func (u *uncountable) Error() string { return "it can't be counted: " + sqlstate.Text(u.cause) }

// find says how a target has users, in key order. If the statement fails, the users that it
// fails for are found by halves.
func (a *Audit) find(ctx context.Context, t *catalog.Compiled, users []settle.Key) (*found, error) {
	f, err := a.ask(ctx, t, users)
	if err == nil || sqlstate.Of(err) == "" {
		return f, err
	}
	refused, err := a.refusals(ctx, settle.Piece{Target: t, Statement: t.States}, users, refusedNamed)
	if err != nil {
		return nil, asUncountable(err)
	}
	if f, err = a.ask(ctx, t, settle.Without(users, refused)); err != nil {
		return nil, asUncountable(err) // it fails, but for no user alone
	}
	f.refused = refused
	for _, r := range refused {
		f.states[r.User] = Different
	}
	return f, nil
}

// asUncountable tells what keeps one target from being counted from what keeps all.
func asUncountable(err error) error {
	if class := sqlstate.ClassOf(err); class == sqlstate.Retry || class == sqlstate.Server {
		return err
	}
	return &uncountable{err}
}

func (a *Audit) ask(ctx context.Context, t *catalog.Compiled, users []settle.Key) (*found, error) {
	f := &found{states: make(map[settle.Key]State, len(users))}
	if err := a.look(ctx, states(t, users, f.states)); err != nil || t.Verdicts == "" {
		return f, err
	}
	missing := slices.DeleteFunc(slices.Clone(users), func(u settle.Key) bool { return f.states[u] != Missing })
	u := settle.Key{Roll: t.Roll}
	var verdict target.Verdict
	return f, a.look(ctx, about(missing, t.Verdicts, []any{&u.Source, &u.ID, &verdict}, func() {
		if verdict == target.Adopt {
			f.states[u] = Adoptable
		}
	}))
}

// states reads how a target has users into a map.
func states(t *catalog.Compiled, users []settle.Key, into map[settle.Key]State) settle.Step {
	u := settle.Key{Roll: t.Roll}
	var state *string
	return about(users, t.States, []any{&u.Source, &u.ID, &state}, func() {
		into[u] = ""
		if state != nil {
			into[u] = State(*state)
		}
	})
}

// about asks a statement about users, and takes each row of its answer once it is in dest.
func about(users []settle.Key, statement string, dest []any, take func()) settle.Step {
	sources, ids := settle.KeyArrays(users)
	return settle.Step{Kind: settle.Reading, SQL: statement, Args: []any{sources, ids, true}, Read: func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, dest, func() error {
			take()
			return nil
		})
		return err
	}}
}

// look runs a statement in a read only transaction, in one round trip.
func (a *Audit) look(ctx context.Context, s settle.Step) error {
	err := a.Targets.Within(ctx, func(conn *pgx.Conn) error {
		opening := settle.Step{Kind: settle.Beginning, SQL: "begin isolation level read committed read only"}
		return settle.Run(ctx, conn, []settle.Step{opening, settle.Settings(a.timeouts()), s, settle.End()})
	})
	return a.Targets.Pool.Explain(err)
}

// refusals returns the users that a piece fails for, the first of them with the reason; what it does is
// undone.
func (a *Audit) refusals(ctx context.Context, p settle.Piece, users []settle.Key, explained int) ([]settle.Refusal, error) {
	var refused []settle.Refusal
	err := connection.ReadOnly(ctx, a.Targets.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, connection.SettingsSQL, a.timeouts()...); err != nil {
			return err
		}
		var err error
		if refused, err = settle.RunIsolated(ctx, tx.Conn(), p, users); err != nil {
			return err
		}
		return a.Targets.ExplainRefusals(ctx, tx.Conn(), p.Target, refused[:min(len(refused), explained)])
	})
	return refused, err
}

func (a *Audit) timeouts() []any {
	return []any{connection.Milliseconds(a.Targets.Pool.LockTimeout()), connection.Milliseconds(pageTimeout)}
}

// walk visits the rows of a roll that are of a source, a page at a time, in key order.
func (a *Audit) walk(ctx context.Context, last settle.Key, visit func([]settle.Key) error) error {
	for {
		var users []settle.Key
		err := a.look(ctx, settle.Step{Kind: settle.Reading, SQL: settle.On(last.Roll, walkSQL), Args: []any{last.Source, last.ID, pageUsers}, Read: func(rows pgx.Rows) error {
			var id string
			_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
				users = append(users, settle.Key{Roll: last.Roll, Source: last.Source, ID: id})
				return nil
			})
			return err
		}})
		if err != nil || len(users) == 0 {
			return err
		}
		if err := visit(users); err != nil {
			return err
		}
		last = users[len(users)-1]
	}
}

// rollSize counts the rows of the rolls that targets follow.
func (a *Audit) rollSize(ctx context.Context) (n int64, err error) {
	err = a.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		var followed []*event.Roll
		for _, t := range a.Targets.All() {
			if slices.Contains(followed, t.Roll) {
				continue
			}
			followed = append(followed, t.Roll)
			var rows int64
			if err := tx.QueryRow(ctx, "select pg_catalog.count(*) from "+t.Roll.Table).Scan(&rows); err != nil {
				return err
			}
			n += rows
		}
		return nil
	})
	return n, err
}
