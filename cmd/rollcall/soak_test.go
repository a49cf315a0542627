package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/bench/relay"
	"rollcall/internal/cli"
	"rollcall/internal/demo"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/testtag"
)

const soakConfig = oneMachine + openSources + `targets:
  gone:
    table: public.gone
    key: [source, id]
    set: {source: new.source, id: new.id, email: new.email, name: new.first_name}
    on_delete: delete
  kept:
    table: public.kept
    key: [source, id]
    set: {source: new.source, id: new.id, email: new.email, name: new.first_name, deleted_at: null}
    on_delete: {email: null, name: null, deleted_at: now()}
`

// The triggers count what is inserted: no user's row is, twice, for a delete is final.
const soakTables = `
create table gone (source text, id text, email text, name text, primary key (source, id));
create table kept (source text, id text, email text, name text, deleted_at timestamptz, primary key (source, id));
create table inserted (target text, source text, id text);
create function count_insert() returns trigger language plpgsql as $$
begin insert into inserted values (tg_argv[0], new.source, new.id); return null; end $$;
create trigger count_insert after insert on gone for each row execute function count_insert('gone');
create trigger count_insert after insert on kept for each row execute function count_insert('kept');`

// What has to happen in a soak of any length.
var (
	soakKills  = testtag.Part(30)
	soakLength = time.Duration(testtag.Part(int(time.Minute)))
)

// soakPatience is for all to be in step after the last failure.
const soakPatience = time.Minute

// replica is a service that is started again whenever it is killed. It has its own way to the database.
type replica struct {
	commandLine
	way     *relay.Relay
	killing sync.Mutex
	now     atomic.Pointer[process]
}

// soak is a server, some replicas, and what happens to them.
type soak struct {
	t        *testing.T
	length   time.Duration
	server   *pgserver.Server
	replicas []*replica
	log      demo.Tail // of all replicas
	turn     atomic.Int64
	kills    atomic.Int64
	caught   int // of the kills, those in the middle of catching up
	restarts int
}

// setting is what a soak begins with.
type setting struct {
	replicas     int
	length       time.Duration
	yaml, tables string
}

func newSoak(t *testing.T, with setting) *soak {
	s := &soak{t: t, length: with.length, server: pgtest.StartServer(t, pgserver.Options{})}
	if text := os.Getenv("ROLLCALL_SOAK"); text != "" {
		var err error
		if s.length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("ROLLCALL_SOAK: %v", err)
		}
	}
	s.exec(with.tables, 0)
	for range with.replicas {
		way, url, err := relay.Database(s.server.URL("postgres"), 0)
		must.Do(t, err)
		t.Cleanup(func() { _ = way.Close() })
		s.replicas = append(s.replicas, &replica{commandLine: newCLI(t, with.yaml, url), way: way})
	}
	// PostgreSQL 15 needs a second start when it dies after a transaction that made an unlogged table has failed,
	// and River's migrations make some.
	if got := s.replicas[0].run(t.Context(), "migrate"); got.code != cli.ExitFine {
		t.Fatalf("migrate: %s", got.log)
	}
	for i := range s.replicas {
		s.start(i)
	}
	t.Cleanup(func() {
		for i := range s.replicas {
			if err := s.replicas[i].now.Load().end(syscall.SIGTERM); err != nil {
				t.Errorf("serve ended with %v", err)
			}
		}
		if t.Failed() {
			t.Logf("the log of the replicas ends with\n%s", &s.log)
		}
	})
	return s
}

func (s *soak) start(i int) {
	p, err := launch(s.t, s.replicas[i].commandLine, &s.log)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.replicas[i].now.Store(p)
}

// connected does something on a connection of its own, which ends with it.
func (s *soak) connected(do func(*pgx.Conn) error) {
	conn, err := pgx.Connect(s.t.Context(), s.server.URL("postgres"))
	if err == nil {
		defer conn.Close(context.Background())
		err = do(conn)
	}
	if err != nil {
		s.t.Error(err)
	}
}

// exec runs SQL and keeps what it locked for a while.
func (s *soak) exec(sql string, hold time.Duration) {
	s.connected(func(conn *pgx.Conn) error {
		_, err := conn.Exec(s.t.Context(), sql)
		time.Sleep(hold)
		return err
	})
}

// kill ends a replica, waits for a moment and starts it again.
func (s *soak) kill(i int, pause time.Duration) {
	s.replicas[i].killing.Lock()
	defer s.replicas[i].killing.Unlock()
	_ = s.replicas[i].now.Load().end(syscall.SIGKILL) // its error says that it was killed
	s.kills.Add(1)
	time.Sleep(pause)
	s.start(i)
}

// killAgain kills a replica at random about as often as that, until it is told to stop.
func (s *soak) killAgain(stop <-chan struct{}, every time.Duration) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(every/2 + rand.N(every)):
			s.kill(rand.N(len(s.replicas)), rand.N(every/4))
		}
	}
}

// killCatchingUp waits until parked users are being settled, and kills all replicas then.
func (s *soak) killCatchingUp() {
	s.connected(func(conn *pgx.Conn) (err error) {
		running := false
		for begin := time.Now(); err == nil && !running && time.Since(begin) < s.length/10; time.Sleep(time.Millisecond) {
			err = conn.QueryRow(s.t.Context(), `select exists (select from rollcall.river_job
				where state = 'running' and args->>'name' like 'catch up %')`).Scan(&running)
		}
		if running {
			s.caught++
		}
		return err
	})
	for i := range s.replicas {
		s.kill(i, 0)
	}
}

// storm lets everything else happen to the database, in turn, and lasts for all the length.
func (s *soak) storm() {
	began := time.Now()
	calm := func(hundredths int) { time.Sleep(s.length * time.Duration(hundredths) / 100) }
	calm(8)
	s.restart(s.server.Stop)
	calm(8)
	s.exec("alter table kept rename to kept_away", 0)
	calm(12)
	s.exec("alter table kept_away rename to kept", 0)
	s.killCatchingUp()
	calm(5)
	s.restart(s.server.Kill)
	calm(8)
	s.exec("begin; lock table gone in access exclusive mode", min(s.length/6, 10*time.Second))
	s.killCatchingUp()
	calm(5)
	s.restart(s.server.Kill)
	calm(8)
	s.restart(s.server.Stop)
	time.Sleep(max(s.length/12, s.length-time.Since(began)))
}

func (s *soak) restart(end func() error) {
	if err := end(); err != nil {
		s.t.Error(err)
	}
	time.Sleep(rand.N(time.Second))
	if err := s.server.Restart(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	s.restarts++
}

// Two replicas are killed again and again, the database is restarted, and a target goes
// away, comes back, and is locked. What was acknowledged is in the roll and in every target
// in the end, once, and nobody who was deleted is alive.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := newSoak(t, setting{2, soakLength, soakConfig, soakTables})
	p := s.providers()
	var telling, killing sync.WaitGroup
	for _, source := range []string{"clerk", "supabase"} {
		telling.Go(func() { p.run(source) })
	}
	peace := make(chan struct{})
	killing.Go(func() { s.killAgain(peace, max(time.Second, min(s.length/time.Duration(soakKills+10), 3*time.Second))) })
	s.storm()
	close(peace)
	killing.Wait()
	close(p.silent)
	telling.Wait()

	db := fixture.At(t, s.server.URL("postgres"))
	s.verdict(db, p, nil)
	if s.kills.Load() < int64(soakKills) || s.restarts < 3 {
		t.Errorf("%d kills and %d restarts are too few", s.kills.Load(), s.restarts)
	}
	s.quiet(p, db)
}

// providers send to whichever replica comes next.
func (s *soak) providers() *providers {
	give, cancel := context.WithTimeout(s.t.Context(), s.length+soakPatience)
	s.t.Cleanup(cancel)
	return &providers{t: s.t, post: newPostman(s.t), book: newLedger(), give: give, silent: make(chan struct{}), bases: s.public}
}

// public is the address of one replica after the other.
func (s *soak) public() string {
	return s.replicas[s.turn.Add(1)%int64(len(s.replicas))].now.Load().public
}

// verdict holds what the tables have against what was sent, and against what else must be so.
func (s *soak) verdict(db *fixture.Database, p *providers, wrong []string) {
	parked := s.awaitStep(db)
	lost, resurrected := judge(db, p.book)
	lost = append(lost, wrong...)
	doubled := pairs(db, "select target || ' ' || source || ' ' || id, count(*)::text from inserted group by 1 having count(*) > 1")
	s.t.Logf("%s: sent %d, acknowledged %d (in %d requests), kills %d (%d while catching up), restarts %d, parked at the end %d, lost %d, doubled %d, resurrected %d",
		s.length, p.book.sent, p.book.acknowledged, p.post.sent.Load(), s.kills.Load(), s.caught, s.restarts, parked, len(lost), len(doubled), len(resurrected))
	if parked+len(lost)+len(doubled)+len(resurrected) > 0 {
		s.t.Errorf("lost %.2000q, doubled %.2000q, resurrected %.2000q", lost, doubled, resurrected)
	}
}

// awaitStep waits until nobody is parked and every target is in service, as the table says
// and as each replica's metrics say, and returns how many are parked still.
func (s *soak) awaitStep(db *fixture.Database) int {
	began := time.Now()
	for {
		parked, gauges := 0, 0.0
		must.Do(s.t, db.SQL.QueryRow(s.t.Context(), "select count(*) from rollcall.parked").Scan(&parked))
		for _, value := range s.counted("rollcall_target_breaker_open{", "rollcall_parked_users{") {
			gauges += value
		}
		if parked == 0 && gauges == 0 {
			s.t.Logf("all in step after %s", time.Since(began).Round(time.Second))
			return 0
		}
		if time.Since(began) > soakPatience {
			s.t.Errorf("%d parked, and the gauges add up to %v, after %s:\n%v", parked, gauges, soakPatience,
				pairs(db, "select target || ' ' || source || ' ' || user_id, concat(attempts, ' ', retry_at - now(), ' ', given_up, ' ', sqlstate, ' ', error) from rollcall.parked limit 5"))
			return parked
		}
		time.Sleep(time.Second)
	}
}

// judge holds roll and targets against the senders' list: who is lost, which includes
// being elsewhere than the roll says, and who is alive after an acknowledged delete.
func judge(db *fixture.Database, book *ledger) (lost, resurrected []string) {
	roll := pairs(db, "select source || ' ' || id, case when deleted_at is null then concat(email, ' ', first_name) else 'dead' end from rollcall.users")
	targets := map[string]map[string]string{}
	for _, target := range []string{"gone", "kept"} {
		where := map[string]string{"kept": " where deleted_at is null"}[target]
		targets[target] = pairs(db, "select source || ' ' || id, concat(email, ' ', name) from "+target+where)
	}
	for key, a := range book.accounts {
		if form := roll[key]; a.ended() && form != "dead" && form != "" {
			resurrected = append(resurrected, "roll: "+key)
		} else if !a.possible(form) {
			lost = append(lost, fmt.Sprintf("roll: %s is %q, acknowledged %v", key, form, a.acknowledged))
		}
		alive := roll[key]
		if alive == "dead" {
			alive = ""
		}
		for target, rows := range targets {
			if a.ended() && rows[key] != "" {
				resurrected = append(resurrected, target+": "+key)
			} else if rows[key] != alive {
				lost = append(lost, fmt.Sprintf("%s: %s is %q, the roll says %q", target, key, rows[key], alive))
			}
		}
	}
	return lost, resurrected
}

// quiet sends some more, undisturbed: what the replicas count is what the senders were told
// and what the table of events holds.
func (s *soak) quiet(p *providers, db *fixture.Database) {
	const stories = 60 // some 200 messages
	began := time.Now()
	p.book.answers = map[string]float64{}
	before := s.counted("rollcall_webhooks_total{")
	p.silent = nil
	var telling sync.WaitGroup
	for n := range stories {
		telling.Go(func() { p.tell(life([]string{"clerk", "supabase"}[n%2], fmt.Sprint("quiet_", n))) })
	}
	telling.Wait()
	counted, told := map[string]string{}, map[string]string{}
	for name, value := range s.counted("rollcall_webhooks_total{") {
		if more := value - before[name]; more != 0 {
			counted[name] = fmt.Sprint(more)
		}
	}
	outcomes := map[string]float64{}
	for name, n := range p.book.answers {
		told[name] = fmt.Sprint(n)
		if outcome := strings.Split(name, `"`)[1]; outcome != "duplicate" {
			outcomes[outcome] += n
		}
	}
	same(s.t, "the metrics of the quiet phase", told, counted)
	recorded := map[string]string{}
	for outcome, n := range outcomes {
		recorded[outcome] = fmt.Sprint(n)
	}
	same(s.t, "the events of the quiet phase", recorded,
		pairs(db, "select outcome, count(*)::text from rollcall.events where received_at >= '"+began.UTC().Format(time.RFC3339Nano)+"' group by outcome"))
	s.t.Logf("the quiet phase: %v", outcomes)
}

// counted are the metrics whose lines begin so, summed over both replicas.
func (s *soak) counted(prefixes ...string) map[string]float64 {
	sum := map[string]float64{}
	for i := range s.replicas {
		for name, value := range scrape(s.t, s.replicas[i].now.Load().admin) {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
				sum[name] += value
			}
		}
	}
	return sum
}
