package app

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/testtag"
)

const jobsConfig = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  clerk: {provider: clerk, signing_secrets: ["${CLERK_SECRET}"]}
`

// serveJobs is a serve on free ports whose jobs are given; stop ends it.
func serveJobs(t *testing.T, database string, jobs ...jobs.Job) (log *journal, stop func()) {
	t.Helper()
	log = &journal{}
	s := readOn(t, jobsConfig, database)
	db := must.Get(s.Open(s.Logger(log)))(t)
	t.Cleanup(db.Close)
	sv := must.Get(newService(Options{Setup: s, Log: s.Logger(log)}, db))(t)
	sv.jobs = jobs
	public := must.Get(listen(t.Context(), s.Config, "listen", "127.0.0.1:0"))(t)
	admin := must.Get(listen(t.Context(), s.Config, "admin_listen", "127.0.0.1:0"))(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sv.run(ctx, public, admin) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return log, stop
}

// A job that is due runs beside the webhooks, and a shutdown ends it in time.
func TestServeRunsJobs(t *testing.T) {
	testtag.Parallel(t)
	url := pgtest.New(t)
	var cutOff atomic.Bool
	begun := make(chan struct{})
	log, stop := serveJobs(t, url, jobs.Job{Name: "hanging", Schedule: "0 0 1 1 *", Timeout: time.Hour, Run: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		cutOff.Store(true)
		return ctx.Err()
	}})
	log.await(t, "ready")
	// The schedule is too slow for a test, so it is made due by hand.
	execute(t, url, `insert into rollcall.river_job (kind, args, max_attempts) values ('rollcall_job', '{"name":"hanging"}', 1)`)
	select {
	case <-begun:
	case <-time.After(20 * time.Second):
		t.Fatalf("the job does not run:\n%s", log)
	}
	start := time.Now()
	stop()
	if took := time.Since(start); !cutOff.Load() || testtag.Timing && took > 8*time.Second {
		t.Errorf("cut off: %t, stopped after %s", cutOff.Load(), took)
	}
	if said := log.Lines("a job was cut off by the shutdown and runs again after it"); len(said) != 1 {
		t.Errorf("the log says:\n%s", log)
	}
}

// Jobs that can't start hold nothing up, are tried again, and are complained of once.
func TestServeWhoseJobsCannotStart(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	first, stop := serveJobs(t, url)
	first.await(t, "ready")
	stop()
	execute(t, url, "alter table rollcall.river_queue rename to away")
	ran := make(chan struct{}, 1)
	log, _ := serveJobs(t, url, jobs.Job{Name: "waiting", Schedule: "0 0 1 1 *", Timeout: time.Hour, Run: func(context.Context) error {
		ran <- struct{}{}
		return nil
	}})
	log.await(t, "ready")
	line := log.await(t, "the jobs can't start yet")
	if said, _ := line["error"].(string); !strings.Contains(said, "river_queue") {
		t.Errorf("the log says %s", said)
	}
	time.Sleep(3 * databaseRetry)
	if n := len(log.Lines("the jobs can't start yet")); n != 1 {
		t.Errorf("said %d times", n)
	}
	execute(t, url, `alter table rollcall.away rename to river_queue;
		insert into rollcall.river_job (kind, args, max_attempts) values ('rollcall_job', '{"name":"waiting"}', 1)`)
	select {
	case <-ran:
	case <-time.After(20 * time.Second):
		t.Errorf("the job does not run:\n%s", log)
	}
}
