package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/clerk"
	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

const (
	// clerkRaceUsers come, change and go; ROLLCALL_TEST_RACE_USERS are others.
	clerkRaceUsers = 2500
	clerkWriters   = 4
	// presentUsers are how many of a writer's users change at a time.
	presentUsers = 60
	// leastLag and mostLag are by how much the API is behind, up and down.
	leastLag, mostLag = 50 * time.Millisecond, 300 * time.Millisecond
)

// clerkRace is a Clerk instance and two replicas that hear of it in every way at once.
type clerkRace struct {
	t        *testing.T
	seed     uint64
	clerk    *clerktest.Clerk
	replicas []*instance
	witness  *syncCheck
	hooks    chan hook
	sent     atomic.Int64 // webhooks, each counted once

	mu     sync.Mutex
	lives  []*member
	recent []*member // the last to change
	tally  directory.Reconciled
}

// member is a user of the race.
type member struct {
	life
	number int
	state  int  // counts changes
	silent bool // all webhooks about the user are lost
}

type hook struct {
	life  *life
	event event.Event
}

func newClerkRace(t *testing.T) *clerkRace {
	t.Helper()
	in := newInstance(t)
	c := &clerkRace{
		t: t, seed: testtag.Seed(t), clerk: in.clerk, hooks: make(chan hook), witness: newSyncCheck(t, "clerk"),
		replicas: []*instance{in, openInstance(in.Database, in.clerk)},
	}
	c.clerk.SetLag(mostLag)
	for _, r := range c.replicas {
		r.MaxDelete = 1
		// The pace is another test's affair.
		r.API = clerk.New(clerk.Config{Key: in.clerk.Key(), URL: r.URL, Client: in.clerk.Client(), Limit: 1e7})
		c.witness.visit(r.project, reconcile.APIProvider(r.API, r.Source))
	}
	return c
}

// Webhooks that are late, out of order, doubled and lost, reconciliations, looks just in time:
// all of the same users at once, on two replicas, with an API that lags behind the webhooks,
// now more, now less. In the end each user is as Clerk has them, once, no deleted user is back, and
// no request was answered with a state older than what was known when it came.
func TestClerkRaces(t *testing.T) {
	c := newClerkRace(t)
	ctx, stop := context.WithCancel(context.Background())
	var background, deliveries, writers sync.WaitGroup
	background.Go(func() { c.disturb(ctx) })
	background.Go(func() { c.age(ctx) })
	for n, r := range c.replicas {
		background.Go(func() { c.reconcile(ctx, r, c.random(100+n)) })
	}
	for n := range 16 {
		background.Go(func() {
			random := c.random(200 + n)
			c.witness.ask(ctx, random, func() *life { return c.choose(random) })
		})
	}
	for n := range 64 {
		deliveries.Go(func() { c.deliver(c.random(300 + n)) })
	}
	for n := range clerkWriters {
		writers.Go(func() { c.write(c.users()/clerkWriters, c.random(n)) })
	}
	writers.Wait()
	close(c.hooks)
	deliveries.Wait()
	stop()
	background.Wait()
	c.end()
}

// Answers of an API may come from servers that are behind by more and by less: a user that one
// has shown is not deleted because the next does not know them yet.
func TestClerkAheadThenBehind(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]func(in *instance, id string) error{
		"reconciliation": func(in *instance, _ string) error {
			return must.Err(reconcile.Run(in.T.Context(), in.Config))
		},
		"just in time": (*instance).sync,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, ids := filled(t, 2)
			in.MaxDelete = 1
			in.clerk.Delete(ids[0]) // one user to delete there is
			born := in.clerk.Put(clerktest.User{Email: "born@x.test"}).ID
			in.wantRun(directory.Reconciled{Created: 1, Deleted: 1, Unchanged: 1})
			in.clerk.SetLag(30 * time.Second)
			must.Do(t, look(in, born))
			in.Want("select count(*)::text from people where id = '"+born+"'", "1")
			in.inStep()
		})
	}
}

func (c *clerkRace) random(stream int) *rand.Rand {
	return rand.New(rand.NewPCG(c.seed, uint64(stream)))
}

func (c *clerkRace) users() int {
	return usersOfTest(c.t, "ROLLCALL_TEST_RACE_USERS", testtag.Part(clerkRaceUsers))
}

// write is an application whose users sign up, change, and stay or leave.
func (c *clerkRace) write(users int, random *rand.Rand) {
	var present []*member
	for users > 0 || len(present) > 0 {
		if users > 0 && len(present) < presentUsers && (len(present) == 0 || random.IntN(3) == 0) {
			present = append(present, c.create(random))
			users--
			continue
		}
		i := random.IntN(len(present))
		switch l := present[i]; random.IntN(6) {
		case 0: // the user stays as they are
			present = append(present[:i], present[i+1:]...)
		case 1:
			present = append(present[:i], present[i+1:]...)
			l.leaving.Store(true)
			c.clerk.Delete(l.id)
			c.tell("user.deleted", l, 4, random)
		default:
			c.clerk.Update(l.id, l.change)
			c.tell("user.updated", l, 20, random)
		}
	}
}

func (c *clerkRace) create(random *rand.Rand) *member {
	l := &member{silent: random.IntN(10) == 0}
	c.mu.Lock()
	l.number = len(c.lives)
	c.mu.Unlock()
	var u clerktest.User
	l.change(&u)
	l.id = c.clerk.Put(u).ID
	c.mu.Lock()
	c.lives = append(c.lives, l)
	c.mu.Unlock()
	c.tell("user.created", l, 20, random)
	return l
}

func (l *member) change(u *clerktest.User) {
	l.state++
	u.Email, u.FirstName = fmt.Sprintf("%d.%d@x.test", l.number, l.state), fmt.Sprint("v", l.state)
}

// tell sends a webhook about a user as they are now, once or twice; one of so many is lost.
func (c *clerkRace) tell(kind string, l *member, lost int, random *rand.Rand) {
	c.mu.Lock()
	if c.recent = append(c.recent, l); len(c.recent) > 10 {
		c.recent = c.recent[1:]
	}
	c.mu.Unlock()
	if l.silent || random.IntN(lost) == 0 {
		return
	}
	id := fmt.Sprint("msg_", c.sent.Add(1))
	e := c.replicas[0].Source.Decode(source.Request{Header: http.Header{"Svix-Id": {id}}, Body: c.clerk.Event(kind, l.id), ReceivedAt: time.Now()})
	for range 1 + random.IntN(2) {
		c.hooks <- hook{&l.life, e}
	}
}

// deliver is one of those who bring webhooks, some faster than others.
func (c *clerkRace) deliver(random *rand.Rand) {
	for p := range c.hooks {
		wait := 20 * time.Millisecond
		if random.IntN(50) == 0 {
			wait = 2 * mostLag
		}
		time.Sleep(time.Duration(random.Int64N(int64(wait))))
		outcome, err := c.replicas[random.IntN(2)].pipeline.Submit(context.Background(), p.event)
		for tries := 0; errors.Is(err, event.ErrUnavailable) && tries < 10; tries++ {
			outcome, err = c.replicas[random.IntN(2)].pipeline.Submit(context.Background(), p.event)
		}
		if err != nil || outcome == event.Parked || outcome == event.UndecodableBody {
			c.t.Errorf("webhook of %s: %s, %v", p.life.id, outcome, err)
			continue
		}
		p.life.learn(p.event)
	}
}

// disturb turns the knobs of the API.
func (c *clerkRace) disturb(ctx context.Context) {
	for random := c.random(98); ctx.Err() == nil; time.Sleep(time.Duration(random.Int64N(int64(mostLag)))) {
		c.clerk.SetLag(leastLag + time.Duration(random.Int64N(int64(mostLag-leastLag))))
		c.clerk.SetCursor(clerktest.Cursor(random.IntN(2)))
		c.clerk.FailEvery(40*random.IntN(3), http.StatusInternalServerError)
	}
}

// age makes some users look long known that the API has had time to learn of.
func (c *clerkRace) age(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(mostLag) {
		c.replicas[0].Exec(`update rollcall.users set changed_at = changed_at - interval '1 hour' where (source, id) in (
select source, id from rollcall.users where deleted_at is null and updated_at < clock_timestamp() - interval '2 seconds' and random() < 0.3 for update skip locked)`)
	}
}

// reconcile goes on and on; some runs are interrupted, and taken up by the next.
func (c *clerkRace) reconcile(ctx context.Context, in *instance, random *rand.Rand) {
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		limit := time.Minute
		if random.IntN(4) == 0 {
			limit = time.Duration(random.Int64N(int64(mostLag)))
		}
		running, cancel := context.WithTimeout(context.Background(), limit)
		tally, err := reconcile.Run(running, in.Config)
		cancel()
		if err != nil && !errors.Is(err, connection.ErrRunning) && running.Err() == nil && !errors.Is(err, event.ErrUnavailable) {
			c.t.Error("reconcile:", err)
		}
		c.mu.Lock()
		c.tally.Created += tally.Created
		c.tally.Updated += tally.Updated
		c.tally.Deleted += tally.Deleted
		c.mu.Unlock()
	}
}

// choose chooses one of those who have just changed, or any other.
func (c *clerkRace) choose(random *rand.Rand) *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.recent
	if random.IntN(2) == 0 {
		from = c.lives
	}
	if len(from) == 0 {
		return nil
	}
	return &from[random.IntN(len(from))].life
}

// end has a last reconciliation find what is still to be found, and looks at every user.
func (c *clerkRace) end() {
	c.clerk.SetLag(0)
	c.clerk.SetCursor(clerktest.CursorWorks)
	c.clerk.FailEvery(0, 0)
	in := c.replicas[0]
	in.run() // ends what was interrupted
	in.age()
	lost := c.living() - int64(len(c.clerk.Users()))
	if tally := in.run(); tally.Deleted != lost || tally.Failed != 0 || tally.Created != 0 || tally.Updated != 0 {
		c.t.Errorf("the last run: %+v, want %d deleted and nothing else", tally, lost)
	}
	c.compare()
	in.Want("select target || user_id from rollcall.parked")
	in.Want("select (count(*) - "+fmt.Sprint(c.sent.Load())+")::text from rollcall.events", "0")
	c.witness.busy()
	if testtag.Long && (lost == 0 || c.tally.Created == 0 || c.tally.Updated == 0 || c.tally.Deleted == 0) {
		c.t.Errorf("the reconciliations had nothing to do: %+v, and %d in the end", c.tally, lost)
	}
	c.t.Logf("%d webhooks, %+v, and %d deleted in the end", c.sent.Load(), c.tally, lost)
}

func (c *clerkRace) living() (n int64) {
	must.Do(c.t, c.replicas[0].SQL.QueryRow(c.t.Context(), "select count(*) from rollcall.users where deleted_at is null").Scan(&n))
	return n
}

// compare holds the roll and the table against the instance, user by user.
func (c *clerkRace) compare() {
	rows, _ := c.replicas[0].SQL.Query(c.t.Context(), `select coalesce(u.id, p.id) as id, case when u.deleted_at is not null then 'deleted'
  when u.id is not null then concat_ws(' ', u.version, u.email, u.full_name) else '' end || coalesce(' ' || p.email || ' ' || p.name, '')
from rollcall.users u full join people p using (id)`)
	got := map[string]string{}
	var id, user string
	must.Get(pgx.ForEachRow(rows, []any{&id, &user}, func() error { got[id] = user; return nil }))(c.t)
	want := map[string]string{}
	for _, u := range c.clerk.Users() {
		want[u.ID] = fmt.Sprint(u.UpdatedAt.UnixMicro(), " ", u.Email, " ", u.FirstName, " ", u.Email, " ", u.FirstName)
	}
	if stay := len(want); stay < len(c.lives)/4 || stay > 3*len(c.lives)/4 {
		c.t.Errorf("%d of %d users stay", stay, len(c.lives))
	}
	for _, l := range c.lives {
		if _, known := got[l.id]; l.leaving.Load() && (known || l.version.Load() > 0 || l.deleted.Load()) {
			want[l.id] = "deleted"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Error("the roll and the table (-instance +ours):", diff)
	}
}
