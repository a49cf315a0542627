package transitions

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// The states of a notification. The last three are final, but for Retry.
const (
	Pending   = "pending"
	Delivered = "delivered"
	Skipped   = "skipped" // its where is not true, or it is wanted no more
	Failed    = "failed"
)

const (
	// MaxBacklog is how many notifications of a name may be pending: beyond it the oldest are given up.
	MaxBacklog = 100_000
	// changedAtOnce is how many one statement gives up or makes due again, well within the time that it has.
	changedAtOnce = 5_000
	// oneByOneTime is for how long expressions are evaluated one by one: a slow one takes as long as a statement may.
	oneByOneTime = 6 * time.Second
)

// Query says what of which notifications is wanted.
type Query struct {
	Name string
	// On and From are the types and sources that are still wanted; none for all.
	On, From []string
	// Where is a condition over new and old; "" for none.
	Where string
	// Payload are Columns.
	Payload []string
}

// Message is a notification that is due.
type Message struct {
	ID       string // msg_ and 32 hex digits, the same at each attempt
	Attempts int    // that were made
	Type     string
	At       time.Time
	Source   string
	RowID    string
	// Wanted: it is of a type and a source that are wanted, and where is true of it. Payload has the columns that were asked for, as JSON.
	Wanted  bool
	Payload json.RawMessage
	// Err is why its expressions have no value; the other fields are good all the same.
	Err error
}

// Result is what became of a notification. One that is Pending is due again after a time.
type Result struct {
	ID       string
	State    string
	Attempts int
	After    time.Duration
	Error    string // "" for none
}

var (
	//go:embed bound.sql
	boundSQL string
	//go:embed due_names.sql
	dueNamesSQL string
	//go:embed due.sql
	dueSQL string // a format of where and of payload
	//go:embed end.sql
	endSQL string
	//go:embed say.sql
	saySQL string
)

// DueNames are those of some names of which something is due.
func (l Log) DueNames(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	rows, _ := l.Pool.Query(ctx, dueNamesSQL, names)
	due, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return due, connection.Wrap(l.Pool.Explain(err), "look for notifications that are due")
}

// Bound gives up the oldest notifications where a backlog is full, and those that have waited for too long. It returns
// how many, by name.
func (l Log) Bound(ctx context.Context) (lost map[string]int64, err error) {
	lost = map[string]int64{}
	for more := true; more && err == nil; {
		rows, _ := l.Pool.Query(ctx, boundSQL, MaxBacklog, keepFailed, changedAtOnce)
		var name string
		var n, all int64
		_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error { lost[name] += n; all += n; return nil })
		more = all == changedAtOnce
	}
	return lost, connection.Wrap(l.Pool.Explain(err), "bound the backlog of notifications")
}

// Due returns up to n notifications that are due. An expression that fails for one of them leaves the others alone. One
// that is slow, too: then there are fewer.
func (l Log) Due(ctx context.Context, q Query, n int) ([]Message, error) {
	list, err := l.read(ctx, q, n, nil)
	if err != nil && ofExpression(err) {
		list, err = l.oneByOne(ctx, q, n)
	}
	return list, connection.Wrap(l.Pool.Explain(err), "read notifications that are due")
}

// oneByOne evaluates the expressions for each notification by itself, as many as it has time for.
func (l Log) oneByOne(ctx context.Context, q Query, n int) ([]Message, error) {
	list, err := l.read(ctx, Query{Name: q.Name, On: q.On, From: q.From}, n, nil)
	if err != nil {
		return nil, err
	}
	var evaluated []Message
	end := time.Now().Add(oneByOneTime)
	for _, m := range list {
		if time.Now().After(end) {
			break
		}
		switch one, err := l.read(ctx, q, 1, []string{m.ID}); {
		case err != nil && ofExpression(err):
			m.Err = err
			evaluated = append(evaluated, m)
		case err != nil:
			return nil, err
		default: // none if it is gone meanwhile
			evaluated = append(evaluated, one...)
		}
	}
	return evaluated, nil
}

// Check has PostgreSQL read the expressions of a query.
func (l Log) Check(ctx context.Context, q Query) error {
	_, err := l.read(ctx, q, 0, nil)
	return err
}

// ofExpression reports whether an error may come from an expression, which may take too long, too.
func ofExpression(err error) bool {
	class := sqlstate.ClassOf(err)
	return class == sqlstate.Row || class == sqlstate.Target || sqlstate.Of(err) == sqlstate.QueryCanceled
}

func (l Log) read(ctx context.Context, q Query, n int, ids []string) (list []Message, err error) {
	where, payload := "true", "'{}'::jsonb"
	if q.Where != "" {
		where = q.Where
	}
	if len(q.Payload) > 0 {
		payload = payloadSQL(q.Payload)
	}
	select {
	case l.reading <- struct{}{}:
		defer func() { <-l.reading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	err = connection.ReadOnly(ctx, l.Pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, fmt.Sprintf(dueSQL, where, payload), q.Name, n, ids, q.On, q.From)
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m Message, err error) {
			err = row.Scan(&m.ID, &m.Attempts, &m.Type, &m.At, &m.Source, &m.RowID, &m.Wanted, &m.Payload)
			return m, err
		})
		return err
	})
	return list, err
}

// payloadSQL makes JSON of columns: of what is gone, as it was.
func payloadSQL(columns []string) string {
	var parts []string
	for _, c := range columns {
		if slices.Contains(Columns, c) {
			parts = append(parts, fmt.Sprintf("%s, case when t.became is null then old.%[2]s else new.%[2]s end", target.Literal(c), c))
		}
	}
	return "pg_catalog.jsonb_build_object(" + strings.Join(parts, ", ") + ")"
}

// End notes what became of a notification, unless another process has done so.
func (l Log) End(ctx context.Context, r Result) error {
	_, err := l.Pool.Exec(ctx, endSQL, r.ID, r.State, r.Attempts, r.After, r.Error)
	return connection.Wrap(l.Pool.Explain(err), "note what became of a notification")
}

// Pause has nothing of a name due for a time.
func (l Log) Pause(ctx context.Context, name string, by time.Duration) error {
	_, err := l.Pool.Exec(ctx, "update rollcall.notifiers set paused_until = pg_catalog.clock_timestamp() + $2::interval where name = $1", name, by)
	return connection.Wrap(l.Pool.Explain(err), "pause notifications")
}

// Said is what is said of a notification on a channel.
type Said struct{ ID, Text string }

// Say sends notifications on a channel of PostgreSQL and marks them as delivered, in one transaction. It leaves out
// what another process has sent.
func (l Log) Say(ctx context.Context, channel string, list []Said) error {
	ids, texts := make([]string, len(list)), make([]string, len(list))
	for i, s := range list {
		ids[i], texts[i] = s.ID, s.Text
	}
	_, err := l.Pool.Exec(ctx, saySQL, channel, ids, texts)
	return connection.Wrap(l.Pool.Explain(err), "notify on channel %s", channel)
}

// ErrUnknown means that there is no such notification.
var ErrUnknown = errors.New("there is no such notification")
