package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// reloadable is a serve whose configuration and secret are files.
type reloadable struct {
	*pgtest.Conn
	t      *testing.T
	dir    string
	url    string // of the database
	public string // base URL of the public listener
	log    *journal
	hangup chan os.Signal
	setup  *Setup
	sv     *service
}

const (
	oldSecret = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"
	newSecret = "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3"
)

const reloadConfig = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  clerk: {provider: clerk, signing_secrets: ["${CLERK_SECRET}"]}
targets:
  people: {table: public.people, key: id, set: {id: new.id, email: new.email}, on_delete: delete}
`

const moreTarget = `  more: {table: public.more, key: id, set: {id: new.id, email: new.email}, on_delete: delete}
`

func startReloadable(t *testing.T) *reloadable {
	t.Helper()
	url := pgtest.New(t)
	r := &reloadable{pgtest.Connect(t, url), t, t.TempDir(), url, "", &journal{}, make(chan os.Signal), nil, nil}
	r.Run("create table people (id text primary key, email text); create table more (id text primary key, email text)")
	r.write(reloadConfig)
	r.secret(oldSecret)
	r.setup = must.Get(r.read())(t)
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	o := Options{Setup: r.setup, Log: r.setup.Logger(r.log), Version: "test", Read: r.read, Hangup: r.hangup, Ready: func() { close(ready) }}
	db := must.Get(r.setup.Open(o.Log))(t)
	t.Cleanup(db.Close)
	r.sv = must.Get(newService(o, db))(t)
	public := must.Get(listen(t.Context(), r.setup.Config, "listen", "127.0.0.1:0"))(t)
	admin := must.Get(listen(t.Context(), r.setup.Config, "admin_listen", "127.0.0.1:0"))(t)
	r.public = "http://" + public.Addr().String()
	go func() { ended <- r.sv.run(ctx, public, admin) }()
	t.Cleanup(func() {
		cancel()
		must.Do(t, <-ended)
	})
	<-ready
	return r
}

func (r *reloadable) write(text string) {
	r.t.Helper()
	must.Do(r.t, os.WriteFile(filepath.Join(r.dir, "rollcall.yaml"), []byte(text), 0o600))
}

func (r *reloadable) secret(text string) {
	r.t.Helper()
	must.Do(r.t, os.WriteFile(filepath.Join(r.dir, "secret"), []byte(text+"\n"), 0o600))
}

func (r *reloadable) read() (*Setup, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, "rollcall.yaml"))
	if err != nil {
		return nil, err
	}
	return Read("rollcall.yaml", data, func(name string) string {
		return map[string]string{"DATABASE_URL": r.url, "CLERK_SECRET_FILE": filepath.Join(r.dir, "secret")}[name]
	})
}

const (
	reloadedLine = "the configuration is reloaded"
	refusedLine  = "the configuration is not reloaded; nothing has changed"
)

// reload sends a SIGHUP and returns the line that it leaves.
func (r *reloadable) reload(line string) map[string]any {
	r.t.Helper()
	before := len(r.log.Lines(line))
	r.hangup <- syscall.SIGHUP
	must.Await(r.t, "the line "+line, func() bool { return len(r.log.Lines(line)) > before }, r.log)
	return r.log.Lines(line)[before]
}

// refuses reloads what must change nothing, and wants some words in the log.
func (r *reloadable) refuses(text string, words ...string) {
	r.t.Helper()
	r.write(text)
	said := fmt.Sprint(r.reload(refusedLine)["error"])
	must.Contain(r.t, said, words...)
}

// signer signs as Clerk would, with some secrets.
func signer(t *testing.T, secrets ...string) *source.Source {
	t.Helper()
	return must.Get(source.New(source.Config{Name: "clerk", Provider: source.Clerk, SigningSecrets: secrets}))(t)
}

// senders deliver a webhook after the other, each about another user.
type senders struct {
	reloadable *reloadable
	template   testevent.Template
	signer     atomic.Pointer[source.Source]
	sent       atomic.Int64
	stop       chan struct{}
	working    sync.WaitGroup
	client     *http.Client
}

func (r *reloadable) send(n int) *senders {
	r.t.Helper()
	s := &senders{reloadable: r, stop: make(chan struct{}), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}}
	s.signer.Store(signer(r.t, oldSecret))
	s.template, _ = testevent.NewTemplate(s.signer.Load(), "user.created")
	for i := range n {
		s.working.Go(func() { s.run(i) })
	}
	return s
}

func (s *senders) run(number int) {
	for n := 0; ; n++ {
		select {
		case <-s.stop:
			return
		default:
		}
		s.sent.Add(1)
		if err := s.deliver(fmt.Sprintf("user_%d_%d", number, n)); err != nil {
			s.reloadable.t.Error(err)
			return
		}
	}
}

func (s *senders) deliver(id string) error {
	body := s.template.Append(nil, testevent.Person{ID: id, Email: id + "@x.test"}, time.Now())
	header, err := s.signer.Load().Sign(source.Hook, body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(s.reloadable.t.Context(), http.MethodPost, s.reloadable.public+"/webhooks/clerk", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header = header
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if outcome := response.Header.Get("Rollcall-Outcome"); response.StatusCode != http.StatusNoContent || outcome != "applied" {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s %s: %s", id, response.Status, outcome, text)
	}
	return nil
}

// some waits until so many more webhooks are under way.
func (s *senders) some() {
	s.reloadable.t.Helper()
	before := s.sent.Load()
	must.Await(s.reloadable.t, "further webhooks", func() bool { return s.sent.Load() > before+2*64 || s.reloadable.t.Failed() }, s.reloadable.log)
}

func (s *senders) end() int64 {
	close(s.stop)
	s.working.Wait()
	return s.sent.Load()
}

// Under load, secrets are rotated, a target comes and goes and limits change, and no webhook is refused or lost.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	s := r.send(64)
	s.some()

	r.secret(oldSecret + "|" + newSecret)
	r.reload(reloadedLine)
	s.signer.Store(signer(t, newSecret))
	s.some()
	s.some() // those that were signed by the old one are answered
	r.secret(newSecret)
	r.reload(reloadedLine)
	s.some()
	forger := &senders{reloadable: r, template: s.template, client: s.client}
	forger.signer.Store(signer(t, oldSecret))
	must.Fail(t, forger.deliver("user_old"), nil, "401")

	r.write(reloadConfig + moreTarget)
	line := r.reload(reloadedLine)
	must.Equal(t, fmt.Sprint(line["added"], line["unfilled"]), "[more] [more]", "what a reload says")
	s.some()
	must.Equal(t, r.log.await(t, "a target is new: its table lacks users from before it; fill it")["command"], "rollcall backfill more", "the offer")

	r.refuses(reloadConfig+"  more: {table: public.nowhere, key: id, set: {id: new.id}, on_delete: delete}\n", "rollcall.yaml:9:", "public.nowhere does not exist")
	r.refuses(reloadConfig+moreTarget+"limit: {}\n", "rollcall.yaml:10:1", "limit")
	r.refuses(strings.Replace(reloadConfig, "\nlisten: 127.0.0.1:0", "\nlisten: 127.0.0.1:1", 1), "serve must be started again", "rollcall.yaml:3:1: listen has changed")
	s.some()

	r.write(reloadConfig + moreTarget + "limits: {queue: 4000, wait: 3s, lock_timeout: 500ms, statement_timeout: 1200ms, body: 100KiB, metadata: 2MiB}\nlog: {level: debug}\nretry: {attempts: 7}\n")
	r.reload(reloadedLine)
	s.some()
	r.backfill("more")
	s.some()

	r.write(reloadConfig + "log: {level: debug}\n")
	must.Equal(t, fmt.Sprint(r.reload(reloadedLine)["removed"]), "[more]", "what a reload says")
	s.some() // a batch ends with the targets that it began with
	s.some()
	before := r.Rows("select count(*) from more")
	s.some()
	r.WantRows("select count(*) from more", before...)
	sent := s.end()
	r.WantRows("select count(*) from people", fmt.Sprint(sent))
	r.WantRows("select count(*) from rollcall.events where outcome = 'applied'", fmt.Sprint(sent))
	r.WantRows("select count(*) from rollcall.users u where not exists (select from people p where p.id = u.id)", "0")
	r.WantRows("select count(*) from more m left join people p using (id, email) where p.id is null", "0")
	r.WantRows("select who, action, object, count(*) from rollcall.audit_log group by 1, 2, 3", "signal:SIGHUP|reload|configuration|5")
	t.Logf("%d webhooks", sent)
}

// backfill fills a target as the command does, and wants every user of that moment there.
func (r *reloadable) backfill(name string) {
	r.t.Helper()
	s := must.Get(r.read())(r.t)
	db := must.Get(s.Open(s.Logger(io.Discard)))(r.t)
	defer db.Close()
	must.Get(Faults(r.t.Context(), db))(r.t)
	r.Run("create table before as select id from rollcall.users")
	must.Get(db.Backfills().Run(r.t.Context(), name, nil))(r.t)
	r.WantRows("select count(*) from before where not exists (select from "+name+" m where m.id = before.id)", "0")
}

// What limits, retries and the level of the log are is what the file says now; a removed target leaves nothing behind
// once no replica has it.
func TestReloadTakesEffect(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	s := r.send(1)
	must.Await(t, "webhooks", func() bool { return s.sent.Load() > 3 }, r.log)
	s.end()
	must.Equal(t, len(r.log.Lines("a job has run")), 0, "lines of the level debug")
	r.write(reloadConfig + moreTarget + "limits: {body: 100B}\nlog: {level: debug}\n")
	r.reload(reloadedLine)
	must.Fail(t, s.deliver("user_large"), nil, "413")
	must.True(t, r.setup.level.Level() < 0, "the level is %s", r.setup.level.Level())

	list := must.Get(r.replicas())(t)
	must.True(t, len(list) == 1 && list[0].ReloadedAt != nil && list[0].Configuration == must.Get(r.read())(t).Hash(), "%+v", list)
	r.Run("insert into rollcall.replicas (id, config, configuration) values ('other', 1, 'another')")
	must.True(t, jobs.Differ(must.Get(r.replicas())(t)), "the replicas do not differ")
	r.Run("delete from rollcall.replicas where id = 'other'")

	r.Run("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('more', 'clerk', 'user_0_1', 'infinity', '23505', '')")
	r.write(reloadConfig)
	r.reload(reloadedLine)
	r.WantRows("select count(*) from rollcall.parked", "1")
	r.Run("insert into rollcall.replicas (id, config) values ('other', 1)") // has the target still
	r.sv.reloading.Lock()
	r.sv.removed["more"] = time.Now().Add(-2 * removedAge)
	r.sv.reloading.Unlock()
	time.Sleep(noteReplica + time.Second)
	r.WantRows("select count(*) from rollcall.parked", "1")
	r.Run("delete from rollcall.replicas where id = 'other'")
	must.Await(t, "the end of what is noted of a removed target", func() bool { return r.Rows("select count(*) from rollcall.parked")[0] == "0" }, r.log)
	r.WantRows("select target from rollcall.backfills", "people")
	r.write(reloadConfig + moreTarget)
	must.Equal(t, fmt.Sprint(r.reload(reloadedLine)["unfilled"]), "[more]", "targets to fill")
}

func (r *reloadable) replicas() ([]jobs.ReplicaState, error) {
	db := must.Get(r.setup.Open(r.setup.Logger(io.Discard)))(r.t)
	defer db.Close()
	return jobs.Replicas(r.t.Context(), db.Pool())
}
