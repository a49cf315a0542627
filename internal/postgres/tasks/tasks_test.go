package tasks_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/tasks"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// work is tasks of the kind "check" that do what a test says.
type work struct {
	*fixture.Bench
	*tasks.List
	job   jobs.Job
	woken []string
}

func newWork(t *testing.T, do func(context.Context, tasks.Task, func(done, total int64)) (any, error)) *work {
	t.Helper()
	w := &work{Bench: fixture.EmptyBench(t, "")}
	wake := func(_ context.Context, job string) error { w.woken = append(w.woken, job); return nil }
	w.List = tasks.New(w.Pool, wake, tasks.Kind{Name: "check", Timeout: time.Minute, Run: do})
	w.job = w.Jobs()[0]
	return w
}

func (w *work) request(subject string) tasks.Task {
	w.T.Helper()
	return must.Get(w.Request(w.T.Context(), tasks.Request{Kind: "check", Subject: subject, By: "alice", Options: map[string]bool{"repair": true}}))(w.T)
}

func (w *work) get(id int64) tasks.Task {
	w.T.Helper()
	return must.Get(w.Get(w.T.Context(), id))(w.T)
}

// Tasks run one after the other, each with its result or its error, without the values of a user.
func TestTasks(t *testing.T) {
	t.Parallel()
	w := newWork(t, func(_ context.Context, task tasks.Task, progress func(done, total int64)) (any, error) {
		progress(3, 4)
		if task.Subject == "bad" {
			return nil, errors.New("the table is gone")
		}
		return map[string]any{"of": task.Subject, "options": task.Options}, nil
	})
	must.Equal(t, must.Get(w.Due(t.Context()))(t), []string{}, "due")
	first, second := w.request("a"), w.request("bad")
	must.Equal(t, []string{first.State, first.RequestedBy, second.State}, []string{"waiting", "alice", "waiting"}, "requested")
	must.Equal(t, w.woken, []string{w.job.Name, w.job.Name}, "woken")
	must.Equal(t, must.Get(w.Due(t.Context()))(t), []string{w.job.Name}, "due")
	must.Do(t, w.job.Run(t.Context()))
	must.Equal(t, must.Get(w.Due(t.Context()))(t), []string{w.job.Name}, "due after the first")
	must.Do(t, w.job.Run(t.Context()))
	first, second = w.get(first.ID), w.get(second.ID)
	must.Equal(t, []any{first.State, first.Done, first.Total, string(first.Result)}, []any{"succeeded", int64(3), int64(4), `{"of": "a", "options": {"repair": true}}`}, "first")
	must.Equal(t, []any{second.State, second.Error, second.Result == nil, second.EndedAt != nil}, []any{"failed", "the table is gone", true, true}, "second")
	page := must.Get(w.Page(t.Context(), 0, 1))(t)
	must.Equal(t, []int64{page[0].ID, must.Get(w.Page(t.Context(), page[0].ID, 5))(t)[0].ID}, []int64{second.ID, first.ID}, "pages")
	_, err := w.Get(t.Context(), 99)
	must.True(t, errors.Is(err, tasks.ErrUnknown), "got %v", err)
	must.Do(t, w.Forget(t.Context(), time.Hour))
	w.Want("select count(*) from rollcall.tasks", "2")
	must.Do(t, w.Forget(t.Context(), 0))
	w.Want("select count(*) from rollcall.tasks", "0")
}

// A task that is told to stop ends soon, one that waits at once, and one that has ended stays as it is.
func TestStop(t *testing.T) {
	t.Parallel()
	running := make(chan struct{})
	w := newWork(t, func(ctx context.Context, _ tasks.Task, progress func(done, total int64)) (any, error) {
		progress(1, 9)
		close(running)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	first, second := w.request("a"), w.request("b")
	must.Equal(t, must.Get(w.Stop(t.Context(), second.ID))(t).State, "stopped", "one that waits")
	ended := make(chan error, 1)
	go func() { ended <- w.job.Run(t.Context()) }()
	<-running
	w.Await("select state, done, total from rollcall.tasks where ended_at is null", "running|1|9")
	must.True(t, must.Get(w.Stop(t.Context(), first.ID))(t).StopRequested, "no request to stop")
	must.Do(t, <-ended)
	first = w.get(first.ID)
	must.Equal(t, []any{first.State, first.Error, first.Done}, []any{"stopped", "", int64(1)}, "one that ran")
	must.Equal(t, must.Get(w.Stop(t.Context(), first.ID))(t), first, "stopped twice")
}

// A task that panics, or takes too long, has failed: it is not run for ever.
func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWork(t, func(ctx context.Context, task tasks.Task, _ func(done, total int64)) (any, error) {
		if task.Subject == "panics" {
			panic("out of bounds")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	first, second := w.request("panics"), w.request("long")
	must.Do(t, w.job.Run(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	must.Do(t, w.job.Run(ctx))
	must.Equal(t, []string{w.get(first.ID).State, w.get(second.ID).State, w.get(second.ID).Error}, []string{"failed", "failed", "it took longer than 1m0s; begin it again"}, "states")
	must.Equal(t, must.Get(w.Due(t.Context()))(t), []string{}, "due")
}

// What a replica leaves when it shuts down goes on at another one.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	ctx, shutdown := context.WithCancel(t.Context())
	runs := 0
	w := newWork(t, func(ctx context.Context, _ tasks.Task, _ func(done, total int64)) (any, error) {
		if runs++; runs == 1 {
			shutdown()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return runs, nil
	})
	task := w.request("a")
	must.True(t, w.job.Run(ctx) != nil, "no error of the replica that shuts down")
	must.Equal(t, w.get(task.ID).State, "running", "state")
	must.Equal(t, must.Get(w.Due(t.Context()))(t), []string{w.job.Name}, "due")
	must.Do(t, w.job.Run(t.Context()))
	must.Equal(t, []string{w.get(task.ID).State, string(w.get(task.ID).Result)}, []string{"succeeded", "2"}, "after it")
}
