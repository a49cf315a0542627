package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/testlog"
	"rollcall/internal/testtag"
)

// replica is one of several that run the same jobs on one database.
type replica struct {
	*river.Client[pgx.Tx]
	*Replica
	running *Running
	t       testing.TB
	log     *testlog.Log
}

// startReplica opens the database anew and starts jobs there, whose schedules are read
// already.
func startReplica(t testing.TB, url string, jobs ...scheduledJob) *replica {
	t.Helper()
	log := &testlog.Log{}
	r := &replica{Replica: newReplica(t, url, log), t: t, log: log}
	r.running = must.Get(r.start(t.Context(), jobs, 100*time.Millisecond))(t)
	r.Client = r.running.client
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		must.Do(t, r.StopAndCancel(ctx))
	})
	return r
}

// due makes a run of a job due now, and reports whether none was under way.
func (r *replica) due(name string) bool {
	r.t.Helper()
	return !must.Get(r.Insert(r.t.Context(), jobArgs{Name: name}, nil))(r.t).UniqueSkippedAsDuplicate
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func never(name string, run func(context.Context) error) scheduledJob {
	return scheduledJob{Job{Name: name, Timeout: time.Minute, Run: run}, river.NeverSchedule()}
}

// awaitRuns waits until so many rows of river_job fulfil a condition.
func (b *migrated) awaitRuns(n int, condition string) {
	b.t.Helper()
	must.Await(b.t, condition, func() bool {
		return b.Rows("select count(*) from rollcall.river_job where " + condition)[0] == fmt.Sprint(n)
	})
}

// In UTC, whatever the zone of the machine; and only what the configuration takes.
func TestSchedule(t *testing.T) {
	t.Parallel()
	s := must.Get(parseSchedule("30 3 * * *"))(t)
	far := time.FixedZone("far", 9*60*60)
	got := s.Next(time.Date(2026, 3, 1, 4, 0, 0, 0, far)) // 19:00 of the day before
	if want := time.Date(2026, 3, 1, 3, 30, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("next is %s, want %s", got, want)
	}
	for _, bad := range []string{"", "@daily", "* * * *", "* * * * * *", "61 * * * *", "TZ=Asia/Tokyo 0 3 * *"} {
		if _, err := parseSchedule(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A schedule that a replica is given reaches River: two names that are the same, an unreadable
// schedule and a run without a bound don't.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	r := newReplica(t, newMigrated(t).url, io.Discard)
	fine := Job{Name: "fine", Schedule: "0 3 * * *", Timeout: time.Minute}
	noSchedule, noTimeout := fine, fine
	noSchedule.Schedule, noTimeout.Timeout = "@daily", 0
	for _, jobs := range [][]Job{{fine, fine}, {noSchedule}, {noTimeout}} {
		must.Fail(t, must.Err(r.Start(t.Context(), jobs)), nil, "job fine")
	}
	jobs := must.Get(r.Start(t.Context(), []Job{fine}))(t)
	must.Do(t, jobs.Stop(t.Context()))
}

// everySecond is due at every full second.
type everySecond struct{}

func (everySecond) Next(now time.Time) time.Time { return now.Truncate(time.Second).Add(time.Second) }

// tick counts its runs, one at every full second.
func tick(runs *atomic.Int64) scheduledJob {
	job := never("tick", func(context.Context) error { runs.Add(1); return nil })
	job.at = everySecond{}
	return job
}

// Of two replicas one runs what is due, again and again, though both know the schedule; and
// when the one that leads goes, the other goes on.
func TestScheduledJobRunsOnOneReplica(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	var runs atomic.Int64
	first, second := startReplica(t, b.url, tick(&runs)), startReplica(t, b.url, tick(&runs))
	must.Await(t, "three runs", func() bool { return runs.Load() >= 3 })
	leader := b.Rows("select leader_id from rollcall.river_leader")
	if len(leader) != 1 {
		t.Fatalf("leaders: %q", leader)
	}
	leading := map[string]*replica{first.ID(): first, second.ID(): second}[leader[0]]
	must.Do(t, stop(t.Context(), leading.Client))
	before := runs.Load()
	must.Await(t, "three more runs", func() bool { return runs.Load() >= before+3 })
	for _, r := range []*replica{first, second} {
		must.Do(t, stop(t.Context(), r.Client))
	}
	b.WantRows("select scheduled_at from rollcall.river_job group by 1 having count(*) > 1")
	b.WantRows("select count(*) from rollcall.river_job where attempt = 1", fmt.Sprint(runs.Load()))
}

// A run that is still going keeps the next one of its name from beginning, on every
// replica, and no other job.
func TestJobIsUnderWayOnce(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	var running, most, other atomic.Int64
	release := make(chan struct{})
	slow := never("slow", func(context.Context) error {
		most.Store(max(most.Load(), running.Add(1)))
		<-release
		running.Add(-1)
		return nil
	})
	quick := never("quick", func(context.Context) error { other.Add(1); return nil })
	one, two := startReplica(t, b.url, slow, quick), startReplica(t, b.url, slow, quick)
	if !one.due("slow") {
		t.Error("the first run was refused")
	}
	must.Await(t, "the first run", func() bool { return running.Load() == 1 })
	if one.due("slow") || two.due("slow") {
		t.Error("another run became due although one is under way")
	}
	two.due("quick")
	must.Await(t, "another job", func() bool { return other.Load() == 1 })
	close(release)
	must.Await(t, "its end", func() bool { return running.Load() == 0 })
	b.awaitRuns(0, "state = 'running'")
	if !two.due("slow") {
		t.Error("the next run was refused")
	}
	b.awaitRuns(2, "state = 'completed' and args->>'name' = 'slow'")
	if most.Load() != 1 {
		t.Errorf("%d runs at once", most.Load())
	}
}

// One that fails, one that its own timeout ends and one that panics are logged by name, once,
// without the address of a user, are not tried again, and stop nobody.
func TestJobFails(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	var failed, panicked, fine atomic.Int64
	hanging := never("hanging", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	hanging.Timeout = 50 * time.Millisecond
	r := startReplica(t, b.url, hanging,
		never("failing", func(context.Context) error { failed.Add(1); return errors.New("no place for ann@example.com") }),
		never("panicking", func(context.Context) error { panicked.Add(1); panic("bob@example.com") }),
		never("fine", func(context.Context) error { fine.Add(1); return nil }))
	for _, name := range []string{"failing", "hanging", "panicking", "fine"} {
		r.due(name)
	}
	b.awaitRuns(4, "finalized_at is not null")
	if failed.Load() != 1 || panicked.Load() != 1 || fine.Load() != 1 {
		t.Errorf("runs: %d failed, %d panicked, %d were fine", failed.Load(), panicked.Load(), fine.Load())
	}
	b.WantRows("select args->>'name', state, attempt from rollcall.river_job order by 1", "failing|discarded|1", "fine|completed|1", "hanging|discarded|1", "panicking|discarded|1")
	for _, want := range []string{`level=ERROR msg="a job failed" job=failing`, `error="no place for …@…"`, `level=ERROR msg="a job failed" job=hanging`, `level=ERROR msg="a job panicked" job=panicking`, "jobs_test.go"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, r.log)
		}
	}
	if n := strings.Count(r.log.String(), "level=ERROR"); n != 3 {
		t.Errorf("%d errors in the log, want one for each:\n%s", n, r.log)
	}
	kept := fmt.Sprint(b.Rows("select errors from rollcall.river_job"))
	if strings.Contains(kept+r.log.String(), "@example.com") {
		t.Errorf("an address got out: %s\n%s", kept, r.log)
	}
}

// A stop waits for a run until its context ends, then has it end; another replica takes it
// up. A run that does not listen is left behind.
func TestStopJobs(t *testing.T) {
	testtag.Parallel(t)
	b := newMigrated(t)
	var begun, cancelled atomic.Int64
	hanging := never("hanging", func(ctx context.Context) error {
		begun.Add(1)
		<-ctx.Done()
		cancelled.Add(1)
		return errors.New("cut off")
	})
	r := startReplica(t, b.url, hanging)
	r.due("hanging")
	must.Await(t, "the run", func() bool { return begun.Load() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	must.Do(t, stop(ctx, r.Client))
	if took := time.Since(start); cancelled.Load() != 1 || took < 300*time.Millisecond || testtag.Timing && took > 5*time.Second {
		t.Errorf("%d runs were cancelled after %s; want one, after 300 ms", cancelled.Load(), took)
	}
	b.WantRows("select state, attempt from rollcall.river_job", "available|0")
	if log := r.log.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, "a job was cut off") {
		t.Errorf("the log says:\n%s", log)
	}
	var again atomic.Int64
	startReplica(t, b.url, never("hanging", func(context.Context) error { again.Add(1); return nil }))
	must.Await(t, "another replica's run", func() bool { return again.Load() == 1 })
}

func TestStopJobsThatDoNotListen(t *testing.T) {
	testtag.Parallel(t)
	b := newMigrated(t)
	var begun atomic.Bool
	release := make(chan struct{})
	r := startReplica(t, b.url, never("deaf", func(context.Context) error { begun.Store(true); <-release; return nil }))
	r.due("deaf")
	must.Await(t, "the run", begun.Load)
	start := time.Now()
	err := stop(ended(), r.Client)
	if took := time.Since(start); err == nil || testtag.Timing && took > cancelTime+2*time.Second {
		t.Errorf("error %v after %s", err, took)
	}
	close(release)
}

// A run that has just become due and that this replica doesn't know is left to another; an
// old one is dropped.
func TestUnknownJob(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	r := startReplica(t, b.url, never("known", func(context.Context) error { return nil }))
	r.due("new")
	b.awaitRuns(1, "args->>'name' = 'new' and scheduled_at > now() + interval '1 second' and attempt = 0") // put off
	b.Run("update rollcall.river_job set created_at = now() - interval '2 minutes', scheduled_at = now(), state = 'available'")
	must.Await(t, "dropping it", func() bool { return strings.Contains(r.log.String(), "dropped\" job=new") })
}

// River holds no connection between its moments, neither of the pool nor beside it, and takes
// no more than are left over.
func TestJobsLeaveConnections(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	var running atomic.Int64
	release := make(chan struct{})
	defer close(release)
	var jobs []scheduledJob
	for n := range 6 {
		jobs = append(jobs, never(fmt.Sprint("job ", n), func(context.Context) error { running.Add(1); <-release; return nil }))
	}
	r := startReplica(t, b.url, jobs...)
	for n := range 6 {
		r.due(fmt.Sprint("job ", n))
	}
	must.Await(t, "runs", func() bool { return running.Load() >= connection.DefaultConnections-keptConnections })
	held, most := 0, int32(0)
	for range 200 {
		acquired := r.pool.Stat().AcquiredConns()
		most = max(most, acquired)
		if acquired > 0 {
			held++
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("of 200 looks %d saw a connection in use, %d at most", held, most)
	if held > 100 {
		t.Errorf("of 200 looks %d saw a connection in use", held)
	}
	b.WantRows("select count(*) from pg_stat_activity where datname = current_database() and application_name = 'rollcall' and query ilike 'listen%'", "0")
	if n := running.Load(); n != connection.DefaultConnections-keptConnections {
		t.Errorf("%d jobs run at once, want %d", n, connection.DefaultConnections-keptConnections)
	}
}

// A role that may not create anything runs the jobs of a schema that another has made, on a
// database whose defaults are odd, after the words of the grant in the error.
func TestJobsOfARestrictedRole(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	role := b.Rows("select 'worker_' || current_database()")[0]
	b.Run(fmt.Sprintf(`create role %[1]q login; alter role %[1]q set default_transaction_read_only = on;
		alter role %[1]q set default_transaction_isolation = 'serializable'`, role))
	t.Cleanup(func() {
		_, _ = b.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]q; drop role %[1]q", role))
	})
	asRole := pgtest.As(t, b.url, role)
	restricted := must.Get(postgres.Open(postgres.Config{URL: asRole}))(t)
	defer restricted.Close()
	_, err := restricted.Migrate(t.Context())
	if err == nil || !strings.Contains(err.Error(), "as its owner run: ") {
		t.Fatalf("got error %v", err)
	}
	_, grants, _ := strings.Cut(err.Error(), "as its owner run: ")
	b.Run(grants)
	if ran, err := restricted.Migrate(t.Context()); err != nil || len(ran) > 0 {
		t.Fatalf("migrate: ran %q, error %v", ran, err)
	}
	var isolation string // of several replicas' transactions serializable would make one fail now and then
	if err := restricted.Pool().QueryRow(t.Context(), "show transaction_isolation").Scan(&isolation); err != nil || isolation != "read committed" {
		t.Errorf("isolation %q, error %v", isolation, err)
	}
	var runs atomic.Int64
	startReplica(t, asRole, tick(&runs))
	must.Await(t, "two runs", func() bool { return runs.Load() >= 2 })
}

// Without the database a start fails, and leaves nothing behind; when its context ends, it
// does so at once.
func TestStartWithoutDatabase(t *testing.T) {
	t.Parallel()
	job := Job{Name: "any", Schedule: "* * * * *", Timeout: time.Minute, Run: func(context.Context) error { return nil }}
	away := newReplica(t, "postgres://nobody@127.0.0.1:1/none", io.Discard)
	must.Fail(t, must.Err(away.Start(t.Context(), []Job{job})), nil, "no PostgreSQL answers at 127.0.0.1:1")
	must.Fail(t, must.Err(newReplica(t, newMigrated(t).url, io.Discard).Start(ended(), []Job{job})), context.Canceled)
}

// Other jobs take the place of those that run by the clock; what is under way goes on.
func TestChange(t *testing.T) {
	testtag.Parallel(t)
	b := newMigrated(t)
	var begun, slow, fresh atomic.Int64
	leave := make(chan struct{})
	r := startReplica(t, b.url, scheduledJob{Job: Job{Name: "slow", Timeout: time.Minute, Run: func(context.Context) error {
		begun.Add(1)
		<-leave
		slow.Add(1)
		return nil
	}}})
	must.True(t, r.due("slow"), "it is under way already")
	must.Await(t, "the slow job", func() bool { return begun.Load() == 1 }, r.log)
	twice := []Job{{Name: "fresh", Timeout: time.Minute}, {Name: "fresh", Timeout: time.Minute}}
	must.Fail(t, r.running.Change(twice), nil, "fresh is listed twice")
	must.Fail(t, r.running.Change([]Job{{Name: "odd", Timeout: time.Minute, Schedule: "often"}}), nil, "five fields")
	must.Do(t, r.running.Change([]Job{{Name: "fresh", Schedule: "0 0 1 1 *", Timeout: time.Minute, Run: func(context.Context) error {
		fresh.Add(1)
		return nil
	}}}))
	close(leave)
	must.Await(t, "the end of the slow job", func() bool { return slow.Load() == 1 }, r.log)
	must.True(t, r.due("fresh"), "it is under way already")
	must.Await(t, "the fresh job", func() bool { return fresh.Load() > 0 }, r.log)
	must.Equal(t, slow.Load(), 1, "runs of the slow job")
}
