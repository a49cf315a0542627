package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/capture"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// raceUsers are changed and told of from everywhere at once.
var raceUsers = testtag.Part(2500)

// Webhooks out of order and doubled, two replicas that empty the outbox, reconciliations and
// backfills, looks just in time, all about the same users at once: in the end each user is as
// auth.users has them, once, and no deleted user is back.
func TestRaces(t *testing.T) {
	p := newProject(t)
	// The trigger of older versions, whose changes count by their data.
	p.Exec(`create constraint trigger rollcall_capture after insert or update or delete on auth.users
deferrable initially deferred for each row execute function rollcall.capture('supabase')`)
	replicas := []*project{p, supabaseProject(p.Database, "")}
	ctx, stop := context.WithCancel(context.Background())
	seed := testtag.Seed(t)
	lives := map[string]*life{}
	for n := range raceUsers {
		lives[fixture.ID(n)] = &life{id: fixture.ID(n)}
	}
	jit := newSyncCheck(t, "supabase")
	var background sync.WaitGroup
	for _, r := range replicas {
		jit.visit(r, reconcile.TableProvider(r.DB, r.Source, "auth.users"))
		background.Go(func() {
			capture.Run(ctx, capture.Config{
				Sources: []*source.Source{r.Source}, DB: r.DB, Submit: r.Submit, Observe: func(string, event.Outcome) {}, Log: slog.New(slog.DiscardHandler),
			})
		})
		background.Go(func() { r.repeat(ctx) })
		background.Go(func() { r.refill(ctx) })
	}
	for n := range 16 {
		random := rand.New(rand.NewPCG(seed, uint64(100+n)))
		background.Go(func() { jit.ask(ctx, random, func() *life { return lives[fixture.ID(random.IntN(raceUsers))] }) })
	}
	var hooks sync.WaitGroup
	send := make(chan event.Event, 2000)
	for range 64 {
		hooks.Go(func() {
			for e := range send {
				time.Sleep(rand.N(20 * time.Millisecond))
				if _, err := replicas[rand.IntN(2)].pipeline.Submit(context.Background(), e); err != nil {
					t.Error(err)
					continue
				}
				lives[e.UserID].learn(e)
			}
		})
	}
	var applications sync.WaitGroup
	for part := range 4 {
		applications.Go(func() { p.change(rand.New(rand.NewPCG(seed, uint64(part))), part, lives, send) })
	}
	applications.Wait()
	close(send)
	hooks.Wait()
	p.Await("select count(*)::text from rollcall.outbox", "0")
	stop()
	background.Wait()
	p.Want(`select coalesce(a.id, p.id)::text from auth.users a full join profiles p on p.id = a.id
where p.id is null or a.id is null or a.deleted_at is not null or p.email is distinct from a.email or p.name is distinct from a.raw_user_meta_data->>'full_name'
order by 1 limit 5`)
	var living, dead int
	must.Do(t, p.SQL.QueryRow(t.Context(), "select count(*) filter (where deleted_at is null), count(*) filter (where deleted_at is not null) from rollcall.users").Scan(&living, &dead))
	if living+dead > raceUsers || dead == 0 || living == 0 { // who came and went before a look was never known
		t.Errorf("%d living and %d dead of %d", living, dead, raceUsers)
	}
	jit.busy()
	t.Logf("%d users, %d of them deleted in the end", raceUsers, dead)
}

// repeat reconciles again and again.
func (p *project) repeat(ctx context.Context) {
	cfg := p.Config
	cfg.MaxDelete = 1
	for ctx.Err() == nil {
		_, _ = reconcile.Run(ctx, cfg) // another may be at it
		time.Sleep(time.Millisecond)
	}
}

// refill fills the profiles from the roll again and again.
func (p *project) refill(ctx context.Context) {
	for ctx.Err() == nil {
		_, _ = p.DB.Backfills().Run(ctx, "profiles", nil) // another may be at it
		time.Sleep(time.Millisecond)
	}
}

// change is an application that changes the users of a part in auth.users, and a webhook
// about each change, some of them twice.
func (p *project) change(random *rand.Rand, part int, lives map[string]*life, send chan<- event.Event) {
	conn, err := pgx.Connect(p.T.Context(), p.SQL.Config().ConnString())
	if err != nil {
		p.T.Error(err)
		return
	}
	defer func() { _ = conn.Close(context.Background()) }()
	versions := map[int]int{}
	for n := part; n < raceUsers; n += 4 {
		versions[n] = 0
	}
	for len(versions) > 0 {
		for n, version := range versions {
			version++
			versions[n] = version
			var sql string
			switch {
			case version == 1:
				sql = "insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at) values ($1, $2, $3, $4, $4)"
			case random.IntN(4) == 0:
				delete(versions, n) // the user stays as they are
				if random.IntN(2) == 0 {
					lives[fixture.ID(n)].leaving.Store(true)
					sql = "delete from auth.users where id = $1 and ($2::text, $3::jsonb, $4::timestamptz) is not null"
				}
			default:
				sql = "update auth.users set email = $2, raw_user_meta_data = $3, updated_at = $4 where id = $1"
			}
			if sql == "" {
				continue
			}
			at := time.Date(2026, 1, 1, 0, 0, version, 0, time.UTC)
			var row []byte
			err := conn.QueryRow(p.T.Context(), sql+" returning row_to_json(users)::text", fixture.ID(n), fmt.Sprintf("%d.%d@x.test", n, version),
				fmt.Sprintf(`{"full_name": "v%d"}`, version), at).Scan(&row)
			if err != nil {
				p.T.Error(err)
				return
			}
			user, err := p.Source.DecodeUser(row, time.Now())
			if err != nil {
				p.T.Error(err)
				return
			}
			e := event.Event{Source: "supabase", ID: fmt.Sprint(n, "-", version), Op: event.Upsert, UserID: user.ID, User: user, ReceivedAt: time.Now()}
			if sql[0] == 'd' {
				e.Op, e.User = event.Delete, user.Tombstone(time.Now())
			}
			for range 1 + random.IntN(2) {
				send <- e
			}
		}
	}
}

// life is a user, and what Rollcall has acknowledged of them.
type life struct {
	id      string
	leaving atomic.Bool  // the user is being deleted at the provider
	version atomic.Int64 // the highest that was acknowledged
	deleted atomic.Bool  // the deletion was acknowledged
}

// acknowledge notes a version, if it is the highest.
func (l *life) acknowledge(version int64) {
	for old := l.version.Load(); old < version && !l.version.CompareAndSwap(old, version); old = l.version.Load() {
	}
}

// learn notes what a webhook has told.
func (l *life) learn(e event.Event) {
	if e.Op == event.Delete {
		l.deleted.Store(true)
		return
	}
	l.acknowledge(e.User.Version)
}

// syncCheck asks for users just in time, on every replica, and holds the answers against what
// had been acknowledged when it asked.
type syncCheck struct {
	t       *testing.T
	source  string
	syncers []*reconcile.Syncer

	mu   sync.Mutex
	said map[string]int // answers and looks, by kind
}

func newSyncCheck(t *testing.T, source string) *syncCheck {
	return &syncCheck{t: t, source: source, said: map[string]int{}}
}

// visit adds a replica: with a Syncer that looks every time, and one that believes a young roll.
func (w *syncCheck) visit(r *project, p reconcile.Provider) {
	cfg := reconcile.SyncConfig{
		Providers: map[string]reconcile.Provider{w.source: p}, DB: r.DB, Submit: r.pipeline.Submit,
		Observe: func(_, result string) { w.count("look " + result) },
	}
	var minutes atomic.Int64
	cfg.Now = func() time.Time { return time.Unix(60*minutes.Add(2), 0) } // each look is the first in a minute
	w.syncers = append(w.syncers, reconcile.NewSyncer(cfg))
	cfg.Now, cfg.MaxAge = time.Now, 20*time.Millisecond
	w.syncers = append(w.syncers, reconcile.NewSyncer(cfg))
}

func (w *syncCheck) count(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[kind]++
}

// ask asks for users, as long as ctx lasts; choose may choose no user.
func (w *syncCheck) ask(ctx context.Context, random *rand.Rand, choose func() *life) {
	for ; ctx.Err() == nil; time.Sleep(time.Duration(random.Int64N(int64(2 * time.Millisecond)))) {
		l := choose()
		if l == nil {
			continue
		}
		version, deleted := l.version.Load(), l.deleted.Load()
		m, err := w.syncers[random.IntN(len(w.syncers))].Sync(context.Background(), w.source, l.id)
		if err == nil {
			w.living(l, m, version, deleted)
			continue
		}
		w.absent(l, err, version)
	}
}

func (w *syncCheck) living(l *life, m roll.Member, version int64, deleted bool) {
	w.count("living")
	switch {
	case deleted:
		w.t.Errorf("%s is said to live after the deletion was acknowledged", l.id)
	case m.Version < version:
		w.t.Errorf("%s has version %d after %d was acknowledged", l.id, m.Version, version)
	}
	l.acknowledge(m.Version)
}

func (w *syncCheck) absent(l *life, err error, version int64) {
	var limit *reconcile.LimitError
	switch {
	case errors.Is(err, reconcile.ErrDeleted):
		w.count("deleted")
		l.deleted.Store(true)
		if !l.leaving.Load() {
			w.t.Errorf("%s is alive: %v", l.id, err)
		}
	case errors.Is(err, reconcile.ErrGone):
		w.count("gone")
		if version > 0 && !l.leaving.Load() {
			w.t.Errorf("%s is alive and known: %v", l.id, err)
		}
	case errors.As(err, &limit):
		w.count("limited")
	case errors.Is(err, event.ErrUnavailable):
		w.count("unavailable")
	default:
		w.t.Errorf("%s: %v", l.id, err)
	}
}

// busy fails unless there was something of everything to be witnessed.
func (w *syncCheck) busy() {
	w.t.Helper()
	for _, kind := range []string{"living", "deleted", "gone", "look found", "look gone"} {
		if testtag.Long && w.said[kind] == 0 { // a few users may miss a kind
			w.t.Errorf("no answer was %q", kind)
		}
	}
	w.t.Logf("just in time: %v", w.said)
}
