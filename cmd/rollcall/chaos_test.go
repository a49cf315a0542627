package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// chaosConfig is soakConfig with a third source, whose users are in the same database.
var chaosConfig = strings.NewReplacer(
	"    database_webhook: {secrets", "    users_table: none\n    database_webhook: {secrets",
	"targets:\n", `  app:
    provider: supabase
    signing_secrets: ["${SUPABASE_SECRET}"]
`+supabaseSession+"targets:\n",
).Replace(soakConfig)

// chaosLength is two minutes at full size; ROLLCALL_SOAK says otherwise.
var chaosLength = time.Duration(testtag.Part(int(2 * time.Minute)))

// project is the provider of the source app: a table of users that changes whatever happens to Rollcall.
type project struct {
	*soak
	url     string
	changes atomic.Int64
	synced  atomic.Int64 // requests of just-in-time sync that were answered with 200
}

// run has some users sign up, change and leave until it is stopped.
func (p *project) run(stop <-chan struct{}) {
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			w := &writer{project: p, http: &http.Client{Timeout: 5 * time.Second}}
			defer w.leave()
			for {
				select {
				case <-stop:
					return
				case <-time.After(rand.N(100 * time.Millisecond)):
					w.live(uuid.NewString())
				}
			}
		})
	}
	users.Wait()
}

// writer is a session of the provider's, which outlives restarts of the database.
type writer struct {
	*project
	conn *pgx.Conn
	http *http.Client
}

func (w *writer) leave() {
	if w.conn != nil {
		_ = w.conn.Close(context.Background())
	}
}

// live is the story of a user.
func (w *writer) live(id string) {
	w.exec(`insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at)
		values ($1, $2, '{"first_name": "v0"}', now(), now()) on conflict (id) do nothing`, id, id+"@app.test")
	if rand.N(4) == 0 {
		w.sync(id)
	}
	for n := range rand.N(4) {
		w.exec("update auth.users set email = $2, raw_user_meta_data = jsonb_build_object('first_name', $3::text) where id = $1",
			id, fmt.Sprintf("%s.%d@app.test", id, n), fmt.Sprint("v", n+1))
	}
	if rand.N(3) == 0 {
		w.exec("delete from auth.users where id = $1", id)
	}
}

// exec runs a statement that may run twice, until the database has it.
func (w *writer) exec(sql string, args ...any) {
	for deadline := time.Now().Add(soakPatience); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if w.conn == nil || w.conn.IsClosed() {
			w.conn, err = pgx.Connect(w.t.Context(), w.url)
		}
		if err == nil {
			_, err = w.conn.Exec(w.t.Context(), sql, args...)
		}
		if err == nil {
			w.changes.Add(1)
			return
		}
		if time.Now().After(deadline) {
			w.t.Errorf("%s: %v", sql, err)
			return
		}
	}
}

// sync asks for a user who lives: after an answer of 200 they are in every target that is not parked.
func (w *writer) sync(id string) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	r := must.Get(http.NewRequestWithContext(ctx, http.MethodPost, w.public()+"/v1/sync", http.NoBody))(w.t)
	r.Header.Set("Authorization", "Bearer "+supabaseToken(w.t, id))
	answer, err := w.http.Do(r)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	var said answered
	if answer.StatusCode != http.StatusOK || json.NewDecoder(answer.Body).Decode(&said) != nil {
		return
	}
	w.synced.Add(1)
	var rows int
	if w.conn.QueryRow(ctx, "select (select count(*) from gone where id = $1) + (select count(*) from kept where id = $1)", id).Scan(&rows) != nil {
		return
	}
	if want := len(said.Targets); rows < want && said.Targets["gone"] == "applied" && said.Targets["kept"] == "applied" {
		w.t.Errorf("user %s has %d rows after a sync that says %v", id, rows, said.Targets)
	}
}

// again runs a command until it is told to stop, and then until it has succeeded once or the patience is over: beside
// failures it may fail each time. It returns how often it has succeeded.
func (p *project) again(stop <-chan struct{}, pause time.Duration, args ...string) (done int) {
	c := newCLI(p.t, chaosConfig, p.url)
	var stopped time.Time
	for stopped.IsZero() || done == 0 && time.Since(stopped) < soakPatience {
		select {
		case <-stop:
			stop, stopped = nil, time.Now()
			continue
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
		if c.run(ctx, args...).code == cli.ExitFine {
			done++
		}
		cancel()
	}
	return done
}

// disorder lets everything that can happen to replicas and their way to the database happen in turn.
func (s *soak) disorder() {
	began := time.Now()
	calm := func() { time.Sleep(s.length / 20) }
	held := min(10*time.Second, s.length/10)
	for range 2 {
		calm()
		for i := range s.replicas { // a rolling restart
			s.held(i, func() {
				if err := s.replicas[i].now.Load().end(syscall.SIGTERM); err != nil {
					s.t.Errorf("serve ended with %v", err)
				}
				s.start(i)
			})
		}
		calm()
		i := rand.N(len(s.replicas))
		s.held(i, func() {
			process := s.replicas[i].now.Load().cmd.Process
			must.Do(s.t, process.Signal(syscall.SIGSTOP))
			time.Sleep(held)
			must.Do(s.t, process.Signal(syscall.SIGCONT))
		})
		calm()
		i = rand.N(len(s.replicas))
		s.replicas[i].way.Cut()
		time.Sleep(held)
		s.replicas[i].way.Mend()
		calm()
		s.restart(s.server.Kill)
	}
	time.Sleep(max(0, s.length-time.Since(began)))
}

// held keeps a replica from being killed meanwhile.
func (s *soak) held(i int, do func()) {
	s.replicas[i].killing.Lock()
	defer s.replicas[i].killing.Unlock()
	do()
}

// Three replicas are killed, stopped, restarted and cut off while both providers, a capture, just-in-time
// sync, reconciliations and backfills are at work, and the database is killed too. In the end every target
// is as the providers say: nothing is lost, doubled or resurrected.
func TestChaos(t *testing.T) {
	t.Parallel()
	s := newSoak(t, setting{3, chaosLength, chaosConfig, pgtest.Auth + soakTables})
	app := &project{soak: s, url: s.server.URL("postgres")}
	c := newCLI(t, chaosConfig, app.url)
	must.Await(t, "the schema", func() bool { return c.run(t.Context(), "capture", "install", "app").code == cli.ExitFine })
	p := s.providers()
	peace := make(chan struct{})
	var telling, working sync.WaitGroup
	for _, name := range []string{source.Clerk, source.Supabase} {
		telling.Go(func() { p.run(name) })
	}
	var reconciled, filled int
	working.Go(func() { app.run(peace) })
	working.Go(func() { s.killAgain(peace, max(time.Second, min(5*time.Second, s.length/12))) })
	working.Go(func() { reconciled = app.again(peace, s.length/30, "reconcile", "app") })
	working.Go(func() { filled = app.again(peace, s.length/20, "backfill", "kept") })
	s.disorder()
	close(peace)
	working.Wait()
	close(p.silent)
	telling.Wait()

	db := fixture.At(t, app.url)
	s.verdict(db, p, app.wrong(db))
	t.Logf("the table of users changed %d times; %d syncs, %d reconciliations and %d backfills succeeded", app.changes.Load(), app.synced.Load(), reconciled, filled)
	if s.kills.Load() < int64(s.length/(20*time.Second)) || app.synced.Load() == 0 || reconciled == 0 || filled == 0 {
		t.Errorf("%d kills are too few, or something has never succeeded", s.kills.Load())
	}
}

// wrong are the users of the source app whose rows are not as the table of users says, once all is captured.
func (p *project) wrong(db *fixture.Database) (all []string) {
	const differing = `select concat(t.name, ' ', coalesce(t.id, u.id::text), ': ', coalesce(t.form, '(no row)'), ', want ', coalesce(u.form, '(none)'))
		from (select id, concat(email, ' ', raw_user_meta_data ->> 'first_name') as form from auth.users) u
		full join (select 'gone' as name, id, concat(email, ' ', name) as form from gone where source = 'app') t on t.id = u.id::text
		where t.form is distinct from u.form`
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		all = append(db.Rows(differing), db.Rows(strings.ReplaceAll(strings.ReplaceAll(differing, "'gone'", "'kept'"), "from gone where", "from kept where deleted_at is null and"))...)
		if len(all) == 0 || time.Since(began) > soakPatience {
			return all
		}
	}
}
