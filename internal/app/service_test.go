package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/testlog"
	"rollcall/internal/testtag"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Wrap(m).Run()) }

// capturedSources are two sources: the first is fed by its capture alone, the second by its hook, too.
const capturedSources = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  captured: {provider: supabase}
  open: {provider: supabase, signing_secrets: ["${SUPABASE_AUTH_HOOK_SECRET}"]}
`

// readOn reads a configuration on a database.
func readOn(t *testing.T, yaml, database string) *Setup {
	t.Helper()
	return must.Get(Read("rollcall.yaml", []byte(yaml), func(name string) string {
		if name == "DATABASE_URL" {
			return database
		}
		return getenv(name)
	}))(t)
}

// journal collects log lines and waits for them.
type journal struct{ testlog.Log }

// await returns the first line with a message once there is one.
func (j *journal) await(t *testing.T, message string) map[string]any {
	t.Helper()
	must.Await(t, "the line "+message, func() bool { return len(j.Lines(message)) > 0 }, j)
	return j.Lines(message)[0]
}

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
	sv.now.Load().jobs = jobs
	public := must.Get(listen(t.Context(), s.Config, "listen", "127.0.0.1:0"))(t)
	admin := must.Get(listen(t.Context(), s.Config, "admin_listen", "127.0.0.1:0"))(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sv.run(ctx, public, admin) }()
	stop = sync.OnceFunc(func() {
		cancel()
		must.Do(t, <-ended)
	})
	t.Cleanup(stop)
	return log, stop
}

// A job that is due runs beside the webhooks, and a shutdown ends it in time.
func TestServeRunsJobs(t *testing.T) {
	testtag.Parallel(t)
	url := pgtest.New(t)
	var begun, cutOff atomic.Bool
	log, stop := serveJobs(t, url, jobs.Job{Name: "hanging", Schedule: "0 0 1 1 *", Timeout: time.Hour, Run: func(ctx context.Context) error {
		begun.Store(true)
		<-ctx.Done()
		cutOff.Store(true)
		return ctx.Err()
	}})
	log.await(t, "ready")
	// The schedule is too slow for a test, so it is made due by hand.
	pgtest.Connect(t, url).Run(`insert into rollcall.river_job (kind, args, max_attempts) values ('rollcall_job', '{"name":"hanging"}', 1)`)
	must.Await(t, "the job's run", begun.Load, log)
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
	pgtest.Connect(t, url).Run("alter table rollcall.river_queue rename to away")
	var ran atomic.Bool
	log, _ := serveJobs(t, url, jobs.Job{Name: "waiting", Schedule: "0 0 1 1 *", Timeout: time.Hour, Run: func(context.Context) error {
		ran.Store(true)
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
	pgtest.Connect(t, url).Run(`alter table rollcall.away rename to river_queue;
		insert into rollcall.river_job (kind, args, max_attempts) values ('rollcall_job', '{"name":"waiting"}', 1)`)
	must.Await(t, "the job's run", ran.Load, log)
}

func TestBlindForAWhile(t *testing.T) {
	t.Parallel()
	var b backoff
	now := time.Now()
	b.set("a", now.Add(backoffPause))
	for _, test := range []struct {
		source string
		after  time.Duration
		want   bool
	}{{"a", 0, false}, {"a", backoffPause - 1, false}, {"a", backoffPause, true}, {"b", 0, true}} {
		if got := b.sees(test.source, now.Add(test.after)); got != test.want {
			t.Errorf("%s after %s: %t", test.source, test.after, got)
		}
	}
}

const (
	captureGone  = "a capture is gone, or its trigger is disabled: changes are no longer noted; install it, then reconcile"
	captureBack  = "a capture is there again"
	captureNever = "nothing reports the changes of a source: no capture is installed, and it has neither signing_secrets nor a database_webhook; install the capture, or give it a secret"
)

// What becomes of a trigger is said once, whether it is dropped or disabled; of a source that
// nothing tells of, the first look says how that is mended.
func TestCaptureWatch(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth)
	conn := pgtest.Connect(t, url)
	s := readOn(t, capturedSources, url)
	db := must.Get(postgres.Open(postgres.Config{URL: url}))(t)
	t.Cleanup(db.Close)
	must.Get(db.Migrate(t.Context()))(t)
	log := &journal{}
	sv := &service{db: db, log: s.Logger(log)}
	sv.now.Store(&assembled{setup: s})
	watch := sv.newCaptureWatch()
	install := outbox.Capture{Source: "captured", Table: "auth.users"}
	for i, step := range []struct {
		do   func() error
		said []string // so far
	}{
		{func() error { return nil }, []string{captureNever}},
		{func() error { return nil }, []string{captureNever}},
		{func() error { return db.Outbox().Install(t.Context(), install) }, []string{captureNever}},
		{func() error { return db.Outbox().Remove(t.Context(), install) }, []string{captureNever, captureGone}},
		{func() error { return nil }, []string{captureNever, captureGone}},
		{func() error { return db.Outbox().Install(t.Context(), install) }, []string{captureNever, captureGone, captureBack}},
		{func() error { conn.Run("alter table auth.users disable trigger rollcall_capture"); return nil }, []string{captureNever, captureGone, captureBack, captureGone}},
		{func() error { conn.Run("drop table auth.users cascade"); return nil }, []string{captureNever, captureGone, captureBack, captureGone}},
	} {
		must.Do(t, step.do())
		watch.look(t.Context())
		var said []string
		for _, line := range log.Lines("") {
			said = append(said, fmt.Sprint(line["msg"]))
			if line["source"] != "captured" || line["msg"] != captureBack && line["command"] != "rollcall capture install captured" {
				t.Errorf("step %d: %v", i, line)
			}
		}
		if got, want := strings.Join(said, "\n"), strings.Join(step.said, "\n"); got != want {
			t.Errorf("step %d: the log says\n%s\nwant\n%s", i, got, want)
		}
	}
}
