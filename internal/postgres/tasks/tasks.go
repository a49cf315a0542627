// Package tasks runs long work that a person has asked for: once among all replicas, with progress, until it is told
// to stop. It hides the table rollcall.tasks, and how work goes on at another replica when its own is gone:
//
//	list := tasks.New(pool, wake, tasks.Kind{Name: "check", Timeout: time.Hour, Run: check})
//	task, err := list.Request(ctx, tasks.Request{Kind: "check", By: "alice"})
package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/sqlstate"
)

// The states of a task. The last three are final.
const (
	Waiting   = "waiting"
	Running   = "running"
	Succeeded = "succeeded"
	Failed    = "failed"
	Stopped   = "stopped"
)

// Task is a piece of work, with how far it is.
type Task struct {
	ID      int64  `json:"id"`
	Kind    string `json:"kind"`
	Subject string `json:"subject" doc:"a source or a target; empty for all"`
	State   string `json:"state" enum:"waiting,running,succeeded,failed,stopped"`
	Done    int64  `json:"done" doc:"rows that are done"`
	Total   int64  `json:"total" doc:"rows in all; 0 while it is unknown"`
	// StopRequested: it ends as Stopped, unless it ends before.
	StopRequested bool            `json:"stop_requested"`
	RequestedBy   string          `json:"requested_by"`
	RequestedAt   time.Time       `json:"requested_at"`
	StartedAt     *time.Time      `json:"started_at,omitempty"`
	EndedAt       *time.Time      `json:"ended_at,omitempty"`
	Result        json.RawMessage `json:"result,omitempty"`
	Error         string          `json:"error,omitempty"`
	Options       json.RawMessage `json:"options,omitempty"`
}

// columns are those of Task, in its order.
const columns = `id, kind, subject, state, done, total, stop_requested, requested_by, requested_at, started_at, ended_at,
	result, coalesce(error, '') as error, options`

// Request asks for a task.
type Request struct {
	Kind    string
	Subject string
	Options any    // becomes JSON; nil for none
	By      string // who asks
}

// Kind is work of one kind. Two tasks of a kind never run at once.
type Kind struct {
	Name    string
	Timeout time.Duration
	// Run does the work, and says how many rows are done, of how many. What a replica that is gone has begun is run
	// anew. The result becomes JSON.
	Run func(ctx context.Context, t Task, progress func(done, total int64)) (result any, err error)
}

// ErrUnknown means that there is no such task.
var ErrUnknown = errors.New("there is no such task")

// errStopped is why a task's context ends when it is told to stop.
var errStopped = errors.New("stopped on request")

// List is the tasks of a database.
type List struct {
	pool  *connection.Pool
	wake  func(ctx context.Context, job string) error
	kinds []Kind
}

// New makes the list. Wake has one of the Jobs run as soon as a replica has time.
func New(pool *connection.Pool, wake func(ctx context.Context, job string) error, kinds ...Kind) *List {
	return &List{pool, wake, kinds}
}

// Jobs are to be run by all replicas.
func (l *List) Jobs() []jobs.Job {
	var list []jobs.Job
	for _, k := range l.kinds {
		list = append(list, jobs.Job{Name: jobName(k.Name), Timeout: k.Timeout, Run: func(ctx context.Context) error { return l.runNext(ctx, k) }})
	}
	return list
}

func jobName(kind string) string { return "tasks of " + kind }

// Due are the jobs with tasks that wait.
func (l *List) Due(ctx context.Context) ([]string, error) {
	rows, _ := l.pool.Query(ctx, "select distinct kind from rollcall.tasks where ended_at is null")
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for i, kind := range kinds {
		kinds[i] = jobName(kind)
	}
	return kinds, connection.Wrap(err, "look for tasks that wait")
}

// Request adds a task.
func (l *List) Request(ctx context.Context, r Request) (Task, error) {
	options := []byte("{}")
	if r.Options != nil {
		var err error
		if options, err = json.Marshal(r.Options); err != nil {
			return Task{}, fmt.Errorf("write the options of a task: %w", err)
		}
	}
	t, err := l.one(ctx, "insert into rollcall.tasks (kind, subject, options, requested_by) values ($1, $2, $3, $4) returning "+columns,
		r.Kind, r.Subject, options, r.By)
	if err != nil {
		return Task{}, connection.Wrap(err, "add a task")
	}
	_ = l.wake(ctx, jobName(r.Kind)) // else it is found by Due
	return t, nil
}

// Get is a task; ErrUnknown.
func (l *List) Get(ctx context.Context, id int64) (Task, error) {
	return l.one(ctx, "select "+columns+" from rollcall.tasks where id = $1", id)
}

// Page is the newest tasks before an id, 0 for the newest of all, n at most.
func (l *List) Page(ctx context.Context, before int64, n int) ([]Task, error) {
	rows, _ := l.pool.Query(ctx, "select "+columns+" from rollcall.tasks where $1 = 0 or id < $1 order by id desc limit $2", before, n)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Task])
	return list, connection.Wrap(err, "list tasks")
}

// Stop tells a task to stop. One that waits is stopped at once, one that has ended stays as it is.
func (l *List) Stop(ctx context.Context, id int64) (Task, error) {
	_, err := l.pool.Exec(ctx, `update rollcall.tasks set stop_requested = true,
		state = case state when 'waiting' then 'stopped' else state end, ended_at = case state when 'waiting' then now() end
		where id = $1 and ended_at is null`, id)
	if err != nil {
		return Task{}, connection.Wrap(err, "stop a task")
	}
	return l.Get(ctx, id)
}

// Forget deletes tasks that ended so long ago.
func (l *List) Forget(ctx context.Context, age time.Duration) error {
	_, err := l.pool.Exec(ctx, "delete from rollcall.tasks where ended_at < now() - $1::interval", age)
	return connection.Wrap(err, "delete old tasks")
}

func (l *List) one(ctx context.Context, sql string, args ...any) (Task, error) {
	rows, _ := l.pool.Query(ctx, sql, args...)
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Task])
	if errors.Is(err, pgx.ErrNoRows) {
		return t, ErrUnknown
	}
	return t, connection.Wrap(err, "read a task")
}

// runNext runs the oldest task of a kind; the next is found by Due. Jobs see to it that it is not called twice at
// once: a task that is running was left by a replica that is gone.
func (l *List) runNext(ctx context.Context, k Kind) error {
	t, err := l.one(ctx, `update rollcall.tasks set state = 'running', started_at = coalesce(started_at, now())
		where id = (select id from rollcall.tasks where kind = $1 and ended_at is null order by id limit 1) returning `+columns, k.Name)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.run(ctx, k, t)
}

// run runs a task and notes how it ended; not if the replica shuts down: then another one runs it anew.
func (l *List) run(ctx context.Context, k Kind, t Task) error {
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watch := &watch{list: l, task: t.ID, stop: stop}
	if t.StopRequested {
		stop(errStopped)
	}
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() { defer close(watched); watch.follow(working, ended) }()
	var result any
	err := event.Safely(func() (err error) {
		result, err = k.Run(working, t, watch.note)
		return err
	})
	close(ended)
	<-watched
	state, text := Succeeded, ""
	switch {
	case errors.Is(context.Cause(working), errStopped) && err != nil:
		state = Stopped
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil:
		state, text = Failed, fmt.Sprintf("it took longer than %s; begin it again", k.Timeout)
	case ctx.Err() != nil && err != nil:
		return err
	case err != nil:
		state, text = Failed, sqlstate.Text(err)
	}
	encoded, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("write the result of a task: %w", err)
	}
	_, err = l.pool.Exec(context.WithoutCancel(ctx), `update rollcall.tasks set state = $2, error = nullif($3, ''), result = nullif($4::jsonb, 'null'),
		done = $5, total = $6, ended_at = now() where id = $1`, t.ID, state, text, encoded, watch.done.Load(), watch.total.Load())
	return connection.Wrap(err, "note the end of a task")
}
