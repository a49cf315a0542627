package transitions

import (
	"context"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

// Notification is one that is kept: a transition to be said to one receiver, and whether it was.
type Notification struct {
	ID       string     `json:"id"`
	Name     string     `json:"name" doc:"as configured"`
	Type     string     `json:"type" doc:"of the transition"`
	Source   string     `json:"source"`
	RowID    string     `json:"row_id" doc:"of the user or the membership"`
	State    string     `json:"state" enum:"pending,delivered,skipped,failed"`
	Attempts int        `json:"attempts"`
	NotedAt  time.Time  `json:"noted_at"`
	DueAt    *time.Time `json:"due_at,omitempty" doc:"of a pending one, when it is tried next"`
	EndedAt  *time.Time `json:"ended_at,omitempty"`
	Error    string     `json:"error,omitempty" doc:"of the last attempt"`
}

// Filter chooses notifications; the zero value chooses all.
type Filter struct {
	Name  string
	State string
	ID    string
}

// Summary counts the notifications of a name.
type Summary struct {
	Name      string `json:"name"`
	Pending   int64  `json:"pending"`
	Delivered int64  `json:"delivered"`
	Skipped   int64  `json:"skipped"`
	Failed    int64  `json:"failed"`
	// Oldest is when the transition of the oldest pending one was noted.
	Oldest *time.Time `json:"oldest_pending,omitempty"`
	// Since is when the notification was first configured; nil for one that no replica has had.
	Since *time.Time `json:"since,omitempty"`
}

// idBytes are those of an id behind msg_.
const idBytes = 16

// Backlog is what waits of a name.
type Backlog struct {
	Pending int64
	Oldest  time.Time // the zero time for none
}

var (
	//go:embed list.sql
	listSQL string
	//go:embed summary.sql
	summarySQL string
	//go:embed backlog.sql
	backlogSQL string
	//go:embed retry.sql
	retrySQL string
	//go:embed forget.sql
	forgetSQL string
)

// List returns the newest notifications, n at most.
func (l Log) List(ctx context.Context, f Filter, n int) ([]Notification, error) {
	id, err := f.id()
	if err != nil {
		return nil, err
	}
	var list []Notification
	err = l.Pool.Scan(ctx, func(tx pgx.Tx) (err error) {
		rows, _ := tx.Query(ctx, listSQL, f.Name, f.State, id, n)
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Notification])
		return err
	})
	return list, connection.Wrap(l.Pool.Explain(err), "list notifications")
}

// id is the ID, "" for none.
func (f Filter) id() (string, error) {
	if f.ID == "" {
		return "", nil
	}
	digits, err := hex.DecodeString(strings.TrimPrefix(f.ID, "msg_"))
	if err != nil || len(digits) != idBytes {
		return "", fmt.Errorf("%q: %w; an id is msg_ and 32 hex digits", f.ID, ErrUnknown)
	}
	return "msg_" + hex.EncodeToString(digits), nil
}

// Summaries counts the notifications that are kept, by name.
func (l Log) Summaries(ctx context.Context) (list []Summary, err error) {
	err = l.Pool.Scan(ctx, func(tx pgx.Tx) (err error) {
		rows, _ := tx.Query(ctx, summarySQL)
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Summary])
		return err
	})
	return list, connection.Wrap(l.Pool.Explain(err), "count the notifications")
}

// Backlogs says what waits, by name.
func (l Log) Backlogs(ctx context.Context) (map[string]Backlog, error) {
	all := map[string]Backlog{}
	rows, _ := l.Pool.Query(ctx, backlogSQL)
	var name string
	var n int64
	var oldest time.Time
	_, err := pgx.ForEachRow(rows, []any{&name, &n, &oldest}, func() error { all[name] = Backlog{n, oldest}; return nil })
	return all, connection.Wrap(l.Pool.Explain(err), "count the notifications that wait")
}

// Retry makes failed notifications due again, as if they had not been tried, and returns how many.
func (l Log) Retry(ctx context.Context, f Filter) (int64, error) {
	id, err := f.id()
	if err != nil {
		return 0, err
	}
	var began time.Time
	err = l.Pool.QueryRow(ctx, "select pg_catalog.clock_timestamp()").Scan(&began)
	var all int64
	for n := int64(changedAtOnce); n == changedAtOnce && err == nil; all += n {
		err = l.Pool.QueryRow(ctx, retrySQL, f.Name, id, changedAtOnce, began).Scan(&n)
	}
	return all, connection.Wrap(l.Pool.Explain(err), "retry notifications")
}

const (
	// keepEnded and keepFailed are for how long transitions are kept whose notifications have ended. A transition is
	// never kept for longer than keepFailed, even if a notification of it was never delivered.
	keepEnded  = 7 * 24 * time.Hour
	keepFailed = 30 * 24 * time.Hour

	forgetBatch = 1000
	forgetPause = 50 * time.Millisecond
)

// Forget deletes old transitions and their notifications, in small transactions, and returns how many transitions.
func (l Log) Forget(ctx context.Context) (all int64, err error) {
	var after int64
	for {
		var n, last int64
		if err := l.Pool.QueryRow(ctx, forgetSQL, after, keepEnded, keepFailed, forgetBatch).Scan(&n, &last); err != nil {
			return all, fmt.Errorf("delete old notifications: %w", l.Pool.Explain(err))
		}
		if all += n; last == 0 {
			return all, nil
		}
		after = last
		if err := connection.Pause(ctx, forgetPause); err != nil {
			return all, err
		}
	}
}
