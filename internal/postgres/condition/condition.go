// Package condition asks a condition in SQL about a user who is in no roll yet. It hides how the user becomes the
// record new, and that a slow condition leaves the connections of all else alone:
//
//	c := condition.New(pool, expr)
//	met, err := c.Met(ctx, user)
package condition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// Timeout bounds the condition in the server.
const Timeout = connection.ConditionTimeout

// Condition is one that can be asked.
type Condition struct {
	target.Condition

	pool      *connection.Pool
	statement string
}

// New prepares a condition; nothing is asked.
func New(pool *connection.Pool, c target.Condition) *Condition {
	return &Condition{c, pool, c.Statement(catalog.RollOf(&target.Target{}))}
}

// Met reports whether the condition is met by a user; null is not. The transaction is read only. An error holds no
// value of the user.
func (c *Condition) Met(ctx context.Context, user *event.User) (met bool, err error) {
	record, err := recordOf(user)
	if err != nil {
		return false, err
	}
	// One statement is a transaction, and the session's are read only. It is planned anew each time, for a table that it
	// reads may have changed.
	pool, err := c.pool.Conditions()
	if err != nil {
		return false, err
	}
	for range connection.ConditionConnections + 1 { // all may be lost at once
		err = pool.QueryRow(ctx, c.statement, pgx.QueryExecModeExec, record).Scan(&met)
		if !lost(err) || ctx.Err() != nil {
			break
		}
	}
	return met, c.pool.Explain(explained(err))
}

// lost reports whether a connection was closed at the other end. A condition that only reads may be asked again.
func lost(err error) bool {
	_, unreachable := errors.AsType[*pgconn.ConnectError](err)
	return err != nil && !unreachable && sqlstate.ClassOf(err) == sqlstate.Retry
}

// ErrSlow means that a condition took longer than Timeout.
var ErrSlow = fmt.Errorf("it took longer than %v", Timeout)

// explained is an error without PostgreSQL's words where they may quote a value.
func explained(err error) error {
	answer, said := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return nil
	case said && answer.Code == sqlstate.QueryCanceled:
		return ErrSlow
	case said:
		return errors.New(sqlstate.Masked(answer.Code, answer.Message))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the database did not answer in time: %w", context.DeadlineExceeded)
	}
	return err
}

// recordOf is a user as a JSON object with the columns of the roll.
func recordOf(u *event.User) (string, error) {
	columns := map[string]any{"source": u.Source, "id": u.ID}
	for i := range event.Users.Fields {
		f := &event.Users.Fields[i]
		switch value := f.Value(u).(type) {
		case event.Document:
			columns[f.Name] = json.RawMessage(value)
		case time.Time:
			columns[f.Name] = value.Format(time.RFC3339Nano)
		default:
			columns[f.Name] = value
		}
	}
	text, err := json.Marshal(columns)
	return string(text), connection.Wrap(err, "write a user as JSON")
}

// Check returns what is wrong with the condition. The first sign-up behind it finds a connection.
func (c *Condition) Check(ctx context.Context) (found []target.Finding, err error) {
	if _, err := c.pool.Conditions(); err != nil {
		return nil, err
	}
	err = connection.ReadOnly(ctx, c.pool, func(tx pgx.Tx) error {
		found, err = catalog.CheckCondition(ctx, tx.Conn(), c.Condition)
		return err
	})
	return found, connection.Wrap(c.pool.Explain(err), "check %s", c.Name)
}
