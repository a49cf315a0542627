package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/source"
)

// The failure matrix: what happens to one webhook on its way, at each moment, in each manner,
// for each kind of sender. What was acknowledged is in the roll and in both targets in the
// end, once; the answer is what the table of outcomes says.

// Statements are given up early, so that a sender's four seconds tell a service that goes on
// from one that hangs, however busy the machine is.
const matrixConfig = oneMachine + "limits: {statement_timeout: 1s}\n" + matrixTargets

// A service that is to be killed hangs until then.
const killedConfig = oneMachine + "limits: {wait: 30s, lock_timeout: 30s, statement_timeout: 30s}\n" + matrixTargets

const matrixTargets = openSources + `targets:
  first: {table: public.first, key: id, set: {id: new.id}, on_delete: delete}
  second: {table: public.second, key: id, set: {id: new.id}, on_delete: delete}
`

// matrixTables fail as the table failure says, and count each time a row is written.
const matrixTables = `
create table first (id text primary key);
create table second (id text primary key);
create table failure (moment text, manner text);
create table writes (target text);
create function fail() returns trigger language plpgsql as $$
declare manner text := (select f.manner from public.failure f where f.moment = tg_argv[0]);
begin
  if manner = 'error' then raise 'failed' using errcode = tg_argv[1]; end if;
  if manner = 'hang' then perform pg_sleep(60); end if;
  return new;
end $$;
create function count_write() returns trigger language plpgsql as $$
begin insert into public.writes values (tg_table_name); return null; end $$;
create trigger fail before insert on first for each row execute function fail('in the first target', 'P0001');
create trigger fail before insert on second for each row execute function fail('in the second target', '23514');
create constraint trigger fail_late after insert on first deferrable initially deferred
  for each row execute function fail('at commit', 'P0001');
create trigger counted after insert or update on first for each row execute function count_write();
create trigger counted after insert or update on second for each row execute function count_write()`

// disk_full is the fault of neither the event nor a target.
const matrixEvents = `create trigger fail before insert on rollcall.events for each row execute function public.fail('before the roll', '53100')`

// moments of the matrix, with what the first attempt hears when something fails or hangs, and
// which target is current all the same.
var moments = []struct {
	name        string
	error, hang heard
	current     string
}{
	{"before the roll", unavailable, unavailable, ""},
	{"in the first target", accepted("parked"), accepted("parked"), "second"},
	{"in the second target", accepted("parked"), accepted("parked"), "first"},
	{"at commit", accepted("parked"), accepted("parked"), "second"}, // a deferred trigger of the first target
	{"on the way to commit", accepted("applied"), unavailable, ""},
	{"after commit", accepted("duplicate"), unavailable, ""},
}

// cuts are the moments in which the wire fails or hangs.
var cuts = map[string]struct{ error, hang fault }{
	"on the way to commit": {cutBefore, holdBefore},
	"after commit":         {cutAfter, holdAfter},
}

// senders of the matrix, with their ways of repeating themselves.
var senders = []struct {
	name     string
	provider string
	endpoint source.Endpoint
	body     string
	deliver  func(*cell) []heard
}{
	{"Clerk", source.Clerk, source.Hook, clerkUser("user.created", "u_1"), untilAccepted},
	{"Supabase hook", source.Supabase, source.Hook, `{"metadata":{"uuid":"m1","name":"after-user-created"},"user":{"id":"u_1","updated_at":"2026-01-02T03:04:05Z"}}`, threeTimes},
	{"Supabase database", source.Supabase, source.Database, `{"type":"INSERT","schema":"auth","table":"users","record":{"id":"u_1","updated_at":"2026-01-02T03:04:05Z"},"old_record":null}`, onlyOnce},
}

func TestFailureMatrix(t *testing.T) {
	t.Parallel()
	const atOnce = 8 // they wait most of the time
	file, killedFile := configFile(t, matrixConfig), configFile(t, killedConfig)
	places := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for _, m := range moments {
		for manner, want := range map[string]heard{"error": m.error, "hang": m.hang, "killed": {}} {
			for _, s := range senders {
				running.Go(func() {
					places <- struct{}{}
					defer func() { <-places }()
					t.Run(m.name+"/"+manner+"/"+s.name, func(t *testing.T) {
						c := &cell{t: t, file: file, moment: m.name, manner: manner}
						if manner == "killed" {
							c.file = killedFile
						}
						c.request = func() *http.Request { return signed(t, s.provider, s.endpoint, s.body) }
						c.start()
						c.inject()
						c.judge(s.deliver(c), want, m.current)
					})
				})
			}
		}
	}
	running.Wait()
}

// untilAccepted is Svix: the same request again, the next time when the failure is over.
func untilAccepted(c *cell) []heard {
	r := c.request()
	all := []heard{c.ask(r)}
	c.mend()
	for deadline := time.Now().Add(20 * time.Second); all[len(all)-1].status != http.StatusNoContent && time.Now().Before(deadline); {
		all = append(all, c.ask(r))
		time.Sleep(50 * time.Millisecond)
	}
	return all
}

// threeTimes is a hook of Supabase's: three attempts, each with an id of its own, in five
// seconds; at once after a 503 with Retry-After, two seconds after a connection has failed.
func threeTimes(c *cell) []heard {
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	defer c.mend()
	var all []heard
	for len(all) < 3 && ctx.Err() == nil {
		a := c.ask(c.request().WithContext(ctx))
		all = append(all, a)
		switch {
		case a.status == 0:
			time.Sleep(2 * time.Second)
		case a.status != http.StatusServiceUnavailable || !a.retry:
			return all
		}
	}
	return all
}

// onlyOnce is a trigger of Supabase's: nobody keeps what it has sent.
func onlyOnce(c *cell) []heard {
	defer c.mend()
	return []heard{c.ask(c.request())}
}

// cell is one field of the matrix, with a database and a service of its own.
type cell struct {
	t              *testing.T
	file           string // its configuration
	moment, manner string
	request        func() *http.Request

	url     string // of the database, through the wire
	cable   *wire
	db      *fixture.Database // direct
	locker  *fixture.Database
	service atomic.Pointer[process]
	halfway tally         // before the failure was over
	killed  chan struct{} // closed when the service has been killed and is back
}

func (c *cell) start() {
	c.db = fixture.New(c.t, matrixTables)
	c.locker = fixture.At(c.t, c.db.Address)
	c.cable, c.url = startWire(c.t, c.db.Address)
	c.launch()
	c.db.Exec(matrixEvents)
}

func (c *cell) launch() { c.service.Store(startProcess(c.t, commandLine{c.file, env(c.url)})) }

func (c *cell) ask(r *http.Request) heard { return ask(c.t, c.service.Load().public, r) }

// inject lets the failure in. Who is to be killed hangs first, so that the moment is right.
func (c *cell) inject() {
	cut, byWire := cuts[c.moment]
	switch {
	case byWire && c.manner == "error":
		c.cable.harm(cut.error, 1)
	case byWire:
		c.cable.harm(cut.hang, 1)
	case c.moment == "before the roll" && c.manner != "error":
		c.locker.Exec("begin; lock table rollcall.events in share mode")
	case c.manner == "error":
		c.db.Exec("insert into failure values ($1, 'error')", c.moment)
	default:
		c.db.Exec("insert into failure values ($1, 'hang')", c.moment)
	}
	if c.manner == "killed" {
		c.killed = make(chan struct{})
		go c.replace()
	}
}

// replace kills the service when it hangs, and starts another one when the failure is over.
func (c *cell) replace() {
	defer close(c.killed)
	soon(10*time.Second, c.hangs)
	c.service.Load().kill()
	c.lift()
	c.launch()
}

func (c *cell) hangs() bool {
	if _, byWire := cuts[c.moment]; byWire {
		return len(c.cable.held) > 0
	}
	return c.db.Rows(`select exists (select from pg_stat_activity
		where datname = current_database() and application_name = 'rollcall' and (wait_event = 'PgSleep' or wait_event_type = 'Lock'))`)[0] == "t"
}

// mend ends the failure, after the killing where there is one.
func (c *cell) mend() {
	if c.killed != nil {
		<-c.killed
		return
	}
	c.halfway = c.count()
	c.lift()
}

func (c *cell) lift() {
	c.locker.Exec("rollback")
	c.db.Exec("delete from failure")
	c.cable.mend()
}

// tally is what there is of the one user, parked entries among it.
type tally struct{ events, roll, first, second, firstWrites, secondWrites, parked int }

func (c *cell) count() tally {
	c.t.Helper()
	var n tally
	must.Do(c.t, c.db.SQL.QueryRow(c.t.Context(), `select
		(select count(*) from rollcall.events), (select count(*) from rollcall.users), (select count(*) from first), (select count(*) from second),
		(select count(*) from writes where target = 'first'), (select count(*) from writes where target = 'second'), (select count(*) from rollcall.parked)`,
	).Scan(&n.events, &n.roll, &n.first, &n.second, &n.firstWrites, &n.secondWrites, &n.parked))
	return n
}

// judge holds the answers, and what has become of the user, against the contract.
func (c *cell) judge(all []heard, want heard, current string) {
	if all[0] != want {
		c.t.Errorf("the first attempt heard %v, want %v", all[0], want)
	}
	if halfway := map[string]int{"first": c.halfway.first, "second": c.halfway.second}; c.killed == nil && current != "" && halfway[current] != 1 {
		c.t.Errorf("when it was acknowledged, %s was not current: %+v", current, c.halfway)
	}
	acknowledged := all[len(all)-1].status == http.StatusNoContent
	if c.request().URL.Path == "/webhooks/clerk" && !acknowledged {
		c.t.Errorf("never accepted: %v", all)
	}
	complete := tally{1, 1, 1, 1, 1, 1, 0}
	fine := func(n tally) bool { return n == complete || n == tally{} && !acknowledged }
	var n tally
	soon(20*time.Second, func() bool { n = c.count(); return fine(n) })
	c.service.Load().stop(c.t) // what was under way is over
	if last := c.count(); !fine(n) || !fine(last) {
		c.t.Errorf("after %v there is %+v, and in the end %+v", all, n, last)
	}
}
