// Package jobs runs what the clock or a replica asks for, once among all replicas. It hides River: the
// rows of river_job, its leadership, its log, and the runs of replicas that are gone.
//
//	replica := jobs.NewReplica(pool, jobs.Configuration{Targets: fingerprint, Hash: hash}, log)
//	running, err := replica.Start(ctx, []jobs.Job{{Name: "forget", Schedule: "30 3 * * *", Timeout: time.Hour, Run: forget}})
//	…
//	err = running.Stop(ctx)
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/robfig/cron/v3"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
)

// Job is something that runs by the clock, on one replica at a time (for what runs when it is
// wanted, see Running.Enqueue): while a run of this name is due or under way, no other one begins.
// A run that fails or panics is logged with its name and is not tried again before its next
// time. One that a shutdown cuts off runs again at another replica, or at this one after its
// start; so does one whose replica is gone (see Replica.TakeOver), and should the first one go on
// after all, both run at once for a moment. A time that passes while no replica leads, for up to
// 15 seconds after the leading one has died, is left out.
type Job struct {
	// Name tells jobs apart; every replica calls a job the same.
	Name string
	// Schedule is a cron expression of five fields, in UTC; empty for a job that runs when
	// Running.Enqueue wants it.
	Schedule string
	// Timeout bounds a run, which must end when its context does.
	Timeout time.Duration
	// Queue is Common, or Waiting for a job that mostly waits for others.
	Queue Queue
	// Run does it. The words of its error reach the log and the table river_job.
	Run func(context.Context) error
}

// Queue is where a run waits for its turn.
type Queue int

// The queues. What is in one does not hold up the other.
const (
	Common Queue = iota
	Waiting
)

func (q Queue) String() string { return [...]string{river.QueueDefault, "waiting"}[q] }

const (
	schema = "rollcall"
	// maxWaiting is how many jobs of Waiting run at once on a replica. They use a connection for moments.
	maxWaiting = 100
	// pollPause is the pause between two looks for runs that other replicas have put down.
	pollPause = time.Second
	// rescueAfter is how long a run whose end could not be written down counts as under way at
	// least; see margin for the rest.
	rescueAfter = 2 * time.Minute
	// busyPause and busyTime: what a replica that is gone has locked is free some seconds after its
	// runs are taken over.
	busyPause = 2 * time.Second
	busyTime  = time.Minute
	// margin is what a run may take to end after its timeout, before others give it up.
	margin = 10 * time.Second
	// cancelTime is how long runs that were told to end are waited for.
	cancelTime = time.Second
	// unknownPause and unknownAge: while a new version of Rollcall takes over, an old replica
	// puts the new one's jobs off.
	unknownPause = 5 * time.Second
	unknownAge   = time.Minute
	// maxAtOnce is how many run at once on a replica with a large pool. A run may hold a
	// connection for long: keptConnections of the pool stay for the two committers and for short
	// questions. River has a pool of its own.
	maxAtOnce       = 4
	keptConnections = 3
)

// Running is the jobs of a started replica.
type Running struct {
	client *river.Client[pgx.Tx]
	worker *jobWorker
}

// Start runs the jobs at their times until Running.Stop is called. Its context bounds the start
// only.
func (r *Replica) Start(ctx context.Context, jobs []Job) (*Running, error) {
	list, err := scheduleAll(jobs)
	if err != nil {
		return nil, err
	}
	_, err = r.Note(ctx) // before a run begins that others may have to take over
	var running *Running
	if err == nil {
		running, err = r.start(ctx, list, pollPause)
	}
	if err != nil {
		return nil, fmt.Errorf("start the jobs: %w", r.pool.Explain(err))
	}
	return running, nil
}

// Change replaces the jobs. What is under way goes on, even of a job that is gone. A schedule that can't be read is
// an error, and changes nothing.
func (j *Running) Change(jobs []Job) error {
	list, err := scheduleAll(jobs)
	if err != nil {
		return err
	}
	known, periodic, err := arrange(list)
	if err != nil {
		return err
	}
	j.worker.jobs.Store(&known)
	j.client.PeriodicJobs().Clear()
	_, err = j.client.PeriodicJobs().AddManySafely(periodic)
	return connection.Wrap(err, "change the schedules of the jobs")
}

// scheduleAll reads the schedules of jobs.
func scheduleAll(jobs []Job) ([]scheduledJob, error) {
	list := make([]scheduledJob, len(jobs))
	for i, job := range jobs {
		list[i].Job = job
		if job.Schedule == "" {
			continue
		}
		var err error
		if list[i].at, err = parseSchedule(job.Schedule); err != nil {
			return nil, fmt.Errorf("job %s: %w", job.Name, err)
		}
	}
	return list, nil
}

// Enqueue has a job run as soon as a replica has time; it does nothing while a run of the job is due or under way.
func (j *Running) Enqueue(ctx context.Context, name string) error {
	queue := (*j.worker.jobs.Load())[name].Queue
	_, err := j.client.Insert(ctx, jobArgs{Name: name}, &river.InsertOpts{Queue: queue.String()})
	return connection.Wrap(err, "put job %s down", name)
}

// Stop begins nothing any more and waits for what is running until its context ends. Then it cancels that and waits
// a second longer; an error says that something still runs.
func (j *Running) Stop(ctx context.Context) error { return stop(ctx, j.client) }

// scheduledJob is a job whose schedule has been read.
type scheduledJob struct {
	Job
	at river.PeriodicSchedule
}

// cronSchedule is in UTC, whatever the zone of the machine.
type cronSchedule struct{ cron.Schedule }

// Next is the first time after now.
func (s cronSchedule) Next(now time.Time) time.Time { return s.Schedule.Next(now.UTC()) }

// parseSchedule reads what the configuration takes for a schedule; package config asks the
// same library.
func parseSchedule(expression string) (river.PeriodicSchedule, error) {
	if len(strings.Fields(expression)) != 5 { // the library knows names like @daily, too
		return nil, fmt.Errorf("schedule %q has not five fields", expression)
	}
	s, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", expression, err)
	}
	return cronSchedule{s}, nil
}

func (r *Replica) start(ctx context.Context, jobs []scheduledJob, poll time.Duration) (*Running, error) {
	client, worker, err := r.client(jobs, poll)
	if err != nil {
		return nil, err
	}
	// River ends the runs at once when the context of its start ends.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started := context.AfterFunc(ctx, cancel)
	if err := client.Start(running); err != nil {
		cancel()
		return nil, err
	}
	if !started() {
		<-client.Stopped()
		return nil, ctx.Err()
	}
	return &Running{client, worker}, nil
}

// client makes a client of River that borrows connections for a moment each and keeps
// none. PollOnly is for that: without it River opens one more, beside the pool, to listen
// on, and a pooler before PostgreSQL that hands out transactions breaks it. It costs up to
// pollPause until a replica sees what another has put down, and up to six seconds without a
// leader after a shutdown; a schedule counts in minutes.
func (r *Replica) client(jobs []scheduledJob, poll time.Duration) (*river.Client[pgx.Tx], *jobWorker, error) {
	w := &jobWorker{log: r.log}
	known, periodic, err := arrange(jobs)
	if err != nil {
		return nil, nil, err
	}
	w.jobs.Store(&known)
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, w); err != nil {
		return nil, nil, err
	}
	atOnce := min(max(int(r.pool.Config().MaxConns)-keptConnections, 1), maxAtOnce)
	client, err := river.NewClient(riverpgxv5.New(r.pool.Jobs), &river.Config{
		ID: r.id, Schema: schema, Workers: workers, PeriodicJobs: periodic,
		Queues: map[string]river.QueueConfig{
			Common.String(): {MaxWorkers: atOnce}, Waiting.String(): {MaxWorkers: maxWaiting},
		},
		PollOnly: true, FetchPollInterval: poll, RescueStuckJobsAfter: rescueAfter,
		// Nothing to rebuild: a few dozen rows, and only their owner might.
		ReindexerIndexNames: []string{},
		Logger:              slog.New(newDedup(r.log.Handler())),
	})
	return client, w, err
}

// arrange is jobs by their names, and those of them that the clock starts.
func arrange(jobs []scheduledJob) (map[string]Job, []*river.PeriodicJob, error) {
	known := map[string]Job{}
	var periodic []*river.PeriodicJob
	for _, job := range jobs {
		if _, twice := known[job.Name]; twice || job.Timeout <= 0 {
			return nil, nil, fmt.Errorf("job %s is listed twice or has no timeout", job.Name)
		}
		known[job.Name] = job.Job
		if job.at == nil {
			continue
		}
		periodic = append(periodic, river.NewPeriodicJob(job.at, func() (river.JobArgs, *river.InsertOpts) {
			return jobArgs{Name: job.Name}, &river.InsertOpts{Queue: job.Queue.String()}
		}, nil))
	}
	return known, periodic, nil
}

func stop(ctx context.Context, client *river.Client[pgx.Tx]) error {
	if client.Stop(ctx) == nil {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer cancel()
	return connection.Wrap(client.StopAndCancel(last), "a job goes on although it was told to end")
}

// jobArgs is what a row of river_job says of a run. There is one kind for all jobs: a kind
// must look like an identifier, and the name of a source need not.
type jobArgs struct {
	Name string `json:"name"`
}

// Kind is River's name for what runs.
func (jobArgs) Kind() string { return "rollcall_job" }

// InsertOpts makes a run the only one of its name, and its first attempt the last.
func (jobArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateScheduled,
		rivertype.JobStateRetryable, rivertype.JobStateRunning,
	}}}
}

type jobWorker struct {
	river.WorkerDefaults[jobArgs]
	jobs atomic.Pointer[map[string]Job]
	log  *slog.Logger
}

// Timeout is when the others give a run up; the job's own context ends before.
func (w *jobWorker) Timeout(run *river.Job[jobArgs]) time.Duration {
	return (*w.jobs.Load())[run.Args.Name].Timeout + margin
}

// Work runs a job and logs how it ended.
func (w *jobWorker) Work(ctx context.Context, run *river.Job[jobArgs]) error {
	job, known := (*w.jobs.Load())[run.Args.Name]
	if !known {
		return w.leave(run)
	}
	began := time.Now()
	err := runJob(ctx, job)
	log := w.log.With("job", job.Name, "seconds", time.Since(began).Seconds())
	var panicked *event.PanicError
	switch {
	case err == nil:
		log.Debug("a job has run")
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		log.Info("a job was cut off by the shutdown and runs again after it")
		return context.Cause(ctx) // by this River knows
	case errors.Is(err, connection.ErrRunning) && run.Attempt > 1 && time.Since(run.CreatedAt) < busyTime:
		return river.JobSnooze(busyPause)
	case errors.As(err, &panicked):
		log.Error("a job panicked", "error", sqlstate.Text(err), "stack", panicked.Stack)
	default:
		log.Error("a job failed", "error", sqlstate.Text(err))
	}
	return sqlstate.Mask(err) // River writes its words down
}

// leave puts a run off that another replica may know, and drops it when none does.
func (w *jobWorker) leave(run *river.Job[jobArgs]) error {
	if time.Since(run.CreatedAt) < unknownAge {
		return river.JobSnooze(unknownPause)
	}
	w.log.Warn("a job of an unknown name is dropped", "job", run.Args.Name)
	return nil
}

func runJob(ctx context.Context, job Job) error {
	ctx, cancel := context.WithTimeout(ctx, job.Timeout)
	defer cancel()
	return event.Safely(func() error { return job.Run(ctx) })
}
