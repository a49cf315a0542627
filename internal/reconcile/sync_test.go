package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
)

// desk is a house with a Syncer, whose looks are counted.
type desk struct {
	*house
	*reconcile.Syncer
	reconcile.SyncConfig
	looks atomic.Int64
}

// newDesk has the configuration changed before it is used.
func newDesk(t *testing.T, change func(*desk)) *desk {
	t.Helper()
	d := &desk{house: newHouse(t)}
	d.SyncConfig = reconcile.SyncConfig{
		Providers: map[string]reconcile.Provider{"supabase": reconcile.TableProvider(d.house.DB, d.Source, "auth.users")},
		DB:        d.house.DB, Submit: d.pipeline.Submit, MaxAge: time.Minute,
	}
	if change != nil {
		change(d)
	}
	d.Providers = maps.Clone(d.Providers)
	for name, p := range d.Providers {
		look := p.Look
		p.Look = func(ctx context.Context, id string) ([]byte, error) {
			d.looks.Add(1)
			return look(ctx, id)
		}
		d.Providers[name] = p
	}
	d.Syncer = reconcile.NewSyncer(d.SyncConfig)
	return d
}

// sync is what one request gets to hear: the user's e-mail and the targets, or the error.
func (d *desk) sync(id string) string {
	m, err := d.Sync(context.Background(), "supabase", id)
	return said(m, err)
}

func said(m postgres.Member, err error) string {
	var limit *reconcile.LimitError
	switch {
	case errors.Is(err, reconcile.ErrDeleted):
		return "deleted"
	case errors.Is(err, reconcile.ErrGone):
		return "gone"
	case errors.As(err, &limit):
		return "limited for " + limit.Wait.String()
	case errors.Is(err, event.ErrUnavailable):
		return "unavailable"
	case err != nil:
		return err.Error()
	}
	_, email, _ := strings.Cut(string(m.User), `"email":"`)
	email, _, _ = strings.Cut(email, `"`)
	return fmt.Sprint(email, " ", m.Targets)
}

// hears fails unless the next request about user 1 is answered so, after so many looks in all.
func (d *desk) hears(want string, looks int64) {
	d.house.t.Helper()
	if got := d.sync(id(1)); got != want {
		d.house.t.Errorf("got %q, want %q", got, want)
	}
	if got := d.looks.Load(); got != looks {
		d.house.t.Errorf("%d looks, want %d", got, looks)
	}
}

const (
	synced = "1@x.test map[profiles:applied]"
	signUp = "insert into auth.users (id, email, created_at, updated_at) values ('00000000-0000-4000-8000-000000000001', '1@x.test', '2026-01-01', '2026-01-01')"
	ageing = "update rollcall.users set changed_at = changed_at - interval '1 hour'"
)

// Many first requests at once look the user up once and make one row.
func TestSyncTwentyAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.exec(signUp)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			if got := d.sync(id(1)); got != synced {
				t.Errorf("got %q", got)
			}
		})
	}
	asking.Wait()
	d.hears(synced, 1)
	d.want("select id || ' ' || email from profiles", id(1)+" 1@x.test")
	d.want("select id from rollcall.events")
}

// The first who asks may leave: the others wait for the same look.
func TestSyncLeaver(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	d := newDesk(t, func(d *desk) {
		p := d.Providers["supabase"]
		look := p.Look
		p.Look = func(ctx context.Context, id string) ([]byte, error) {
			asked <- struct{}{}
			<-answer
			return look(ctx, id)
		}
		d.Providers["supabase"] = p
	})
	d.exec(signUp)
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan string)
	go func() { left <- said(d.Sync(leaving, "supabase", id(1))) }()
	<-asked
	stays := make(chan string)
	go func() { stays <- d.sync(id(1)) }()
	leave()
	if got := <-left; got != "unavailable" {
		t.Errorf("who left heard %q", got)
	}
	close(answer)
	if got := <-stays; got != synced {
		t.Errorf("who stayed heard %q", got)
	}
}

// Who joins a look hears of what was acknowledged before he asked, even if it had begun before.
func TestSyncJoiner(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	d := newDesk(t, func(d *desk) {
		p := d.Providers["supabase"]
		p.Look = func(context.Context, string) ([]byte, error) {
			asked <- struct{}{}
			<-answer
			return nil, nil
		}
		d.Providers["supabase"] = p
	})
	first, joins := make(chan string), make(chan string)
	go func() { first <- d.sync(id(1)) }()
	<-asked
	email, now := "1@x.test", time.Now()
	u := &event.User{Row: event.Row{Source: "supabase", ID: id(1), Version: 1}, Email: &email, RawUserMetaData: "{}", RawAppMetaData: "{}"}
	if _, err := d.pipeline.Submit(t.Context(), event.Event{Source: "supabase", ID: "1", Op: event.Upsert, UserID: u.ID, User: u, ReceivedAt: now}); err != nil {
		t.Fatal(err)
	}
	go func() { joins <- d.sync(id(1)) }()
	time.Sleep(100 * time.Millisecond) // should he come too late to join, he finds the roll young
	close(answer)
	if got := <-first; got != "gone" {
		t.Errorf("the first heard %q", got)
	}
	if got := <-joins; got != synced {
		t.Errorf("who joined heard %q", got)
	}
}

// A look that panics is one that failed: it ends nobody else's.
func TestSyncPanic(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(d *desk) {
		p := d.Providers["supabase"]
		look := p.Look
		p.Look = func(ctx context.Context, id string) ([]byte, error) {
			if d.looks.Load() == 1 {
				panic("for a test")
			}
			return look(ctx, id)
		}
		d.Providers["supabase"] = p
	})
	d.exec(signUp)
	_, err := d.Sync(t.Context(), "supabase", id(1))
	if !errors.Is(err, event.ErrUnavailable) || !strings.Contains(err.Error(), "panic: ") || strings.Contains(err.Error(), "for a test") || !strings.Contains(err.Error(), "sync_test.go") {
		t.Errorf("got %v", err)
	}
	d.hears(synced, 2)
}

// A young roll answers by itself, and mends a row that somebody has deleted; an old one is
// held against the provider, and is young again.
func TestSyncAge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.exec(signUp)
	d.hears(synced, 1)
	d.exec("delete from profiles; update auth.users set email = 'new@x.test'")
	d.hears(synced, 1)
	d.want("select email from profiles", "1@x.test")
	d.exec(ageing)
	d.hears("new@x.test map[profiles:applied]", 2)
	d.hears("new@x.test map[profiles:applied]", 2)
	d.exec(ageing + "; delete from profiles")
	d.hears("new@x.test map[profiles:applied]", 3) // nothing is new but its age
	d.hears("new@x.test map[profiles:applied]", 3)
	d.want("select email from profiles", "new@x.test")
}

// What a webhook has told is not undone by a provider that does not know it yet.
func TestSyncBehindTheRoll(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(d *desk) { d.MaxAge = 0 })
	d.exec(signUp)
	d.hears(synced, 1)
	d.exec("update rollcall.users set email = 'newer@x.test', version = version + 1")
	d.hears("newer@x.test map[profiles:applied]", 2)
	d.want("select email from profiles", "newer@x.test")
}

// A target that refuses him is named; the others have him.
func TestSyncParked(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.exec(signUp + "; alter table profiles add constraint no check (email <> '1@x.test')")
	d.hears("1@x.test map[profiles:parked]", 1)
	d.hears("1@x.test map[profiles:parked]", 1)
	d.exec("alter table profiles drop constraint no")
	d.hears(synced, 1)
	d.want("select target from rollcall.parked")
}

// Nobody gets a row whom the provider does not have, and who is gone stays gone.
func TestSyncGone(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for _, odd := range []string{"", "x", "{00000000-0000-4000-8000-000000000001}", "urn:uuid:00000000-0000-4000-8000-000000000001", "00000000-0000-0000-0000-000000000000"} {
		if got := d.sync(odd); got != "gone" {
			t.Errorf("%q: %s", odd, got)
		}
	}
	d.hears("gone", 6)
	d.exec(signUp + "; update auth.users set deleted_at = now()")
	d.hears("gone", 7)
	d.want("select id from rollcall.users")

	d.exec("update auth.users set deleted_at = null")
	d.hears(synced, 8)
	d.exec("delete from auth.users; " + ageing)
	d.hears("gone", 9)
	d.hears("deleted", 9)
	d.want("select id::text from profiles")
	d.exec(signUp) // the same id again: a deletion is final
	d.hears("deleted", 9)
	d.want("select id::text from profiles")
}

// Who has more metadata than is read is not looked up where versions decide; others are.
func TestSyncTooLarge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.exec(signUp)
	d.users(2, 1)
	d.exec("update auth.users set raw_user_meta_data = jsonb_build_object('a', repeat('x', 2000000)) where id = '" + id(1) + "'")
	_, err := d.Sync(t.Context(), "supabase", id(1))
	if !errors.Is(err, event.ErrUnavailable) || !strings.Contains(err.Error(), "limits.metadata") {
		t.Errorf("got %v", err)
	}
	if got := d.sync(id(2)); got != "2@x.test map[profiles:applied]" {
		t.Error(got)
	}
}

// A provider that knows nobody is another one than the roll's: with a wrong key, each who signs
// in would be buried for good.
func TestSyncWrongProvider(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.exec(signUp)
	d.users(2, 10)
	d.exec("alter table auth.users rename to right_users; create table auth.users (like auth.right_users including all)")
	for n := range 11 {
		d.exec(fmt.Sprintf("insert into rollcall.users (source, id, version, changed_at, config, raw_user_meta_data, raw_app_meta_data) values ('supabase', '%s', 1, now() - interval '1 hour', 0, '{}', '{}')", id(n+1)))
	}
	if _, err := d.Sync(t.Context(), "supabase", id(1)); !errors.Is(err, event.ErrUnavailable) || !strings.Contains(err.Error(), "none of 5 others") {
		t.Errorf("got %v", err)
	}
	d.want("select count(*)::text from rollcall.users where deleted_at is null", "11")
	if got := d.sync("nobody"); got != "gone" { // he has nothing to lose
		t.Error(got)
	}
	d.exec("drop table auth.users; alter table auth.right_users rename to users; delete from auth.users where id <> '" + id(2) + "'")
	if got := d.sync(id(2)); got != "2@x.test map[profiles:applied]" {
		t.Error(got)
	}
	if got := d.sync(id(1)); got != "gone" {
		t.Error(got)
	}
	d.want("select count(*)::text from rollcall.users where deleted_at is null", "10")
}

// One user of the roll's whom the provider knows makes it the right one.
func TestSyncRightProvider(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.users(2, 2)
	d.exec(signUp)
	for n := range 3 {
		if got := d.sync(id(n + 1)); got == "gone" {
			t.Fatal(got)
		}
	}
	d.exec("delete from auth.users where id = '" + id(1) + "';" + ageing)
	d.Syncer = reconcile.NewSyncer(d.SyncConfig) // knows nothing
	if got := d.sync(id(1)); got != "gone" {
		t.Error(got)
	}
}

// A provider that lags does not bury whom the roll knows from a moment ago.
func TestSyncLag(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(d *desk) {
		d.MaxAge = 0
		p := d.Providers["supabase"]
		p.Lag = time.Minute
		d.Providers["supabase"] = p
	})
	d.exec(signUp)
	d.hears(synced, 1)
	d.exec("delete from auth.users")
	d.hears(synced, 2)
	d.exec(ageing)
	d.hears("gone", 3)
}

// A user is looked up ten times a minute at most; while those looks have shown him, the roll
// answers.
func TestSyncLimit(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := newDesk(t, func(d *desk) {
		d.MaxAge = 0
		d.Now = func() time.Time { return now }
	})
	for n := range 10 {
		now = now.Add(time.Second)
		d.hears("gone", int64(n)+1)
	}
	now = now.Add(time.Second)
	d.hears("limited for 50s", 10)
	if got := d.sync(id(2)); got != "gone" {
		t.Errorf("another user: %s", got)
	}
	now = now.Add(50 * time.Second)
	d.exec(signUp)
	d.hears(synced, 12)
	for n := range 9 {
		now = now.Add(time.Second)
		d.hears(synced, 13+int64(n))
	}
	d.exec("update auth.users set email = 'new@x.test', updated_at = now()")
	d.hears(synced, 21)
	d.exec(ageing)
	d.hears("limited for 51s", 21)
}

// A provider that is away, or says what can't be read, changes nothing.
func TestSyncProviderAway(t *testing.T) {
	t.Parallel()
	var answer []byte
	failure := errors.New("no route")
	d := newDesk(t, func(d *desk) {
		p := d.Providers["supabase"]
		p.Look = func(context.Context, string) ([]byte, error) { return answer, failure }
		d.Providers["supabase"] = p
	})
	d.hears("unavailable", 1)
	answer, failure = []byte(`{"id":`), nil
	d.hears("unavailable", 2)
	d.want("select id from rollcall.users")
}
