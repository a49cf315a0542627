package settle

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
)

// ask finds the users that the statement would wait for, without waiting. Those whose key
// or condition can't even be computed are sorted out first.
func (s *separation) ask(ctx context.Context, p Piece, users []Key) ([]Refusal, error) {
	// A key that another transaction has inserted, and not committed yet, is waited for, too.
	_, err := s.conn.Exec(ctx, setTimeouts, s.all.askingTimeouts(s.work)...)
	if err == nil {
		err = s.exec(ctx, "savepoint ask")
	}
	if err != nil {
		return nil, err
	}
	err = s.exec(ctx, p.Target.LockTable()+" nowait")
	if sqlstate.Of(err) == sqlstate.InsufficientPrivilege { // with rights to columns only, the table can't be asked for
		err = s.exec(ctx, "rollback to savepoint ask")
	}
	if err != nil {
		return nil, err
	}
	refused, err := RunIsolated(ctx, s.conn, Piece{Target: p.Target, Statement: p.wanted}, users)
	if err != nil {
		return nil, err
	}
	// Skip locked itself would wait for a locked table, which has been asked for above.
	sources, ids := KeyArrays(Without(users, refused))
	rows, _ := s.conn.Query(ctx, p.locked, sources, ids, true)
	locked, err := CollectKeys(rows, p.Target.Roll)
	for _, u := range slices.Compact(locked) {
		refused = append(refused, Refusal{target: p.Target.Name, User: u, state: sqlstate.LockNotAvailable, message: "another transaction holds the row of this user"})
	}
	return refused, err
}

// setTimeouts sets lock_timeout and statement_timeout for the rest of a transaction or savepoint.
const setTimeouts = "select pg_catalog.set_config('lock_timeout', $1, true), " +
	"pg_catalog.set_config('statement_timeout', $2, true)"

// Without leaves out the users who are refused.
func Without(users []Key, refused []Refusal) []Key {
	out := make(map[Key]bool, len(refused))
	for _, r := range refused {
		out[r.User] = true
	}
	return slices.DeleteFunc(slices.Clone(users), func(u Key) bool { return out[u] })
}

const (
	// askingLock and askingStatement bound a piece once a wait was in vain: together
	// with that wait, webhooks are back to normal within a second and a half.
	askingLock      = 20 * time.Millisecond
	askingStatement = 500 * time.Millisecond
)

// askingTimeouts leave parked users, which no sender waits for, their time once they have their locks.
func (ts *Targets) askingTimeouts(w *Work) []any {
	if w.Purpose == retryParked {
		return []any{connection.Milliseconds(askingLock), connection.Milliseconds(ts.Pool.StatementTimeout())}
	}
	return []any{connection.Milliseconds(askingLock), connection.Milliseconds(askingStatement)}
}

// RunIsolated runs a piece for users and returns those it refuses.
func RunIsolated(ctx context.Context, conn *pgx.Conn, p Piece, users []Key) ([]Refusal, error) {
	if len(users) == 0 {
		return nil, nil
	}
	var refused []Refusal
	prepared, err := conn.Prepare(ctx, p.Statement, p.Statement)
	if err != nil {
		return nil, err
	}
	sources, ids := KeyArrays(users)
	rows, _ := conn.Query(ctx, `select source, id, state, message, coalesce(place, ''), coalesce(against, '')
from rollcall.settle_apart($1, $2, $3, $4, $5, $6)`, prepared.Name, sources, ids, p.mode.has(Asking), p.mode.has(failedPipelined), p.mode.has(atOnce))
	u := Key{Roll: p.Target.Roll}
	var state, message, place, against string
	_, err = pgx.ForEachRow(rows, []any{&u.Source, &u.ID, &state, &message, &place, &against}, func() error {
		r := Refusal{target: p.Target.Name, User: u, state: state, message: sqlstate.Masked(state, message), against: against}
		if !strings.HasPrefix(place, "rollcall.settle_apart(") {
			r.place = place
		}
		if state == sqlstate.ForeignKeyViolation {
			r.pause = p.pause
		}
		refused = append(refused, r)
		return nil
	})
	return refused, err
}
