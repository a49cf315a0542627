package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/reconcile"
)

// syncProject is a project with a Syncer, whose looks are counted.
type syncProject struct {
	*project
	*reconcile.Syncer
	reconcile.SyncConfig
	provider reconcile.Provider // of "supabase", to be changed before it is used
	looks    atomic.Int64
}

// newSyncProject has the configuration changed before it is used.
func newSyncProject(t *testing.T, change func(*syncProject)) *syncProject {
	t.Helper()
	d := &syncProject{project: newProject(t)}
	d.SyncConfig = reconcile.SyncConfig{DB: d.project.DB, Submit: d.pipeline.Submit, MaxAge: time.Minute}
	d.provider = reconcile.TableProvider(d.project.DB, d.Source, "auth.users")
	if change != nil {
		change(d)
	}
	look := d.provider.Look
	d.provider.Look = func(ctx context.Context, id string) ([]byte, error) {
		d.looks.Add(1)
		return look(ctx, id)
	}
	d.Providers = map[string]reconcile.Provider{"supabase": d.provider}
	d.Syncer = reconcile.NewSyncer(d.SyncConfig)
	return d
}

// sync is what one request gets to hear: the user's e-mail and the targets, or the error.
func (d *syncProject) sync(id string) string {
	m, err := d.Sync(context.Background(), "supabase", id)
	return said(m, err)
}

func said(m roll.Member, err error) string {
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
func (d *syncProject) hears(want string, looks int64) {
	d.T.Helper()
	if got := d.sync(fixture.ID(1)); got != want {
		d.T.Errorf("got %q, want %q", got, want)
	}
	if got := d.looks.Load(); got != looks {
		d.T.Errorf("%d looks, want %d", got, looks)
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
	d := newSyncProject(t, nil)
	d.Exec(signUp)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			if got := d.sync(fixture.ID(1)); got != synced {
				t.Errorf("got %q", got)
			}
		})
	}
	asking.Wait()
	d.hears(synced, 1)
	d.Want("select id || ' ' || email from profiles", fixture.ID(1)+" 1@x.test")
	d.Want("select id from rollcall.events")
}

// The first request may leave: the others wait for the same look.
func TestSyncLeaver(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	d := newSyncProject(t, func(d *syncProject) {
		look := d.provider.Look
		d.provider.Look = func(ctx context.Context, id string) ([]byte, error) {
			asked <- struct{}{}
			<-answer
			return look(ctx, id)
		}
	})
	d.Exec(signUp)
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan string)
	go func() { left <- said(d.Sync(leaving, "supabase", fixture.ID(1))) }()
	<-asked
	stays := make(chan string)
	go func() { stays <- d.sync(fixture.ID(1)) }()
	leave()
	if got := <-left; got != "unavailable" {
		t.Errorf("the request that left heard %q", got)
	}
	close(answer)
	if got := <-stays; got != synced {
		t.Errorf("the one that stayed heard %q", got)
	}
}

// A request that joins a look learns what was acknowledged before it came, even if the look had begun before.
func TestSyncJoiner(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	d := newSyncProject(t, func(d *syncProject) {
		d.provider.Look = func(context.Context, string) ([]byte, error) {
			asked <- struct{}{}
			<-answer
			return nil, nil
		}
	})
	first, joins := make(chan string), make(chan string)
	go func() { first <- d.sync(fixture.ID(1)) }()
	<-asked
	email, now := "1@x.test", time.Now()
	u := &event.User{Row: event.Row{Source: "supabase", ID: fixture.ID(1), Version: 1}, Email: &email, RawUserMetaData: "{}", RawAppMetaData: "{}"}
	must.Get(d.pipeline.Submit(t.Context(), event.Event{Source: "supabase", ID: "1", Op: event.Upsert, UserID: u.ID, User: u, ReceivedAt: now}))(t)
	go func() { joins <- d.sync(fixture.ID(1)) }()
	time.Sleep(100 * time.Millisecond) // if it comes too late to join, it finds the roll young
	close(answer)
	if got := <-first; got != "gone" {
		t.Errorf("the first heard %q", got)
	}
	if got := <-joins; got != synced {
		t.Errorf("the one that joined heard %q", got)
	}
}

// A look that panics is one that failed: it ends no other.
func TestSyncPanic(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, func(d *syncProject) {
		look := d.provider.Look
		d.provider.Look = func(ctx context.Context, id string) ([]byte, error) {
			if d.looks.Load() == 1 {
				panic("for a test")
			}
			return look(ctx, id)
		}
	})
	d.Exec(signUp)
	_, err := d.Sync(t.Context(), "supabase", fixture.ID(1))
	if !errors.Is(err, event.ErrUnavailable) || !strings.Contains(err.Error(), "panic: ") || strings.Contains(err.Error(), "for a test") || !strings.Contains(err.Error(), "sync_test.go") {
		t.Errorf("got %v", err)
	}
	d.hears(synced, 2)
}

// A young roll answers by itself, and mends a row that was deleted; an old one is
// held against the provider, and is young again.
func TestSyncAge(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, nil)
	d.Exec(signUp)
	d.hears(synced, 1)
	d.Exec("delete from profiles; update auth.users set email = 'new@x.test'")
	d.hears(synced, 1)
	d.Want("select email from profiles", "1@x.test")
	d.Exec(ageing)
	d.hears("new@x.test map[profiles:applied]", 2)
	d.hears("new@x.test map[profiles:applied]", 2)
	d.Exec(ageing + "; delete from profiles")
	d.hears("new@x.test map[profiles:applied]", 3) // nothing is new but its age
	d.hears("new@x.test map[profiles:applied]", 3)
	d.Want("select email from profiles", "new@x.test")
}

// What a webhook has told is not undone by a provider that does not know it yet.
func TestSyncBehindTheRoll(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, func(d *syncProject) { d.MaxAge = 0 })
	d.Exec(signUp)
	d.hears(synced, 1)
	d.Exec("update rollcall.users set email = 'newer@x.test', version = version + 1")
	d.hears("newer@x.test map[profiles:applied]", 2)
	d.Want("select email from profiles", "newer@x.test")
}

// A target that refuses the user is named; the others have the row.
func TestSyncParked(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, nil)
	d.Exec(signUp + "; alter table profiles add constraint no check (email <> '1@x.test')")
	d.hears("1@x.test map[profiles:parked]", 1)
	d.hears("1@x.test map[profiles:parked]", 1)
	d.Exec("alter table profiles drop constraint no")
	d.hears(synced, 1)
	d.Want("select target from rollcall.parked")
}

// No user gets a row that the provider does not have, and a deleted user stays deleted.
func TestSyncGone(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, nil)
	for _, odd := range []string{"", "x", "{00000000-0000-4000-8000-000000000001}", "urn:uuid:00000000-0000-4000-8000-000000000001", "00000000-0000-0000-0000-000000000000"} {
		if got := d.sync(odd); got != "gone" {
			t.Errorf("%q: %s", odd, got)
		}
	}
	d.hears("gone", 6)
	d.Exec(signUp + "; update auth.users set deleted_at = now()")
	d.hears("gone", 7)
	d.Want("select id from rollcall.users")

	d.Exec("update auth.users set deleted_at = null")
	d.hears(synced, 8)
	d.Exec("delete from auth.users; " + ageing)
	d.hears("gone", 9)
	d.hears("deleted", 9)
	d.Want("select id::text from profiles")
	d.Exec(signUp) // the same id again: a deletion is final
	d.hears("deleted", 9)
	d.Want("select id::text from profiles")
}

// A user with more metadata than is read is not looked up where versions decide; others are.
func TestSyncTooLarge(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, nil)
	d.Exec(signUp)
	d.InsertUsers(2, 1)
	d.Exec("update auth.users set raw_user_meta_data = jsonb_build_object('a', repeat('x', 2000000)) where id = '" + fixture.ID(1) + "'")
	must.Fail(t, must.Err(d.Sync(t.Context(), "supabase", fixture.ID(1))), event.ErrUnavailable, "limits.metadata")
	if got := d.sync(fixture.ID(2)); got != "2@x.test map[profiles:applied]" {
		t.Error(got)
	}
}

// A provider that knows no user is another one than the roll's: with a wrong key, each who signs
// in would be deleted for good.
func TestSyncWrongProvider(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, nil)
	d.Exec(signUp)
	d.InsertUsers(2, 10)
	d.Exec("alter table auth.users rename to right_users; create table auth.users (like auth.right_users including all)")
	for n := range 11 {
		d.Exec(fmt.Sprintf("insert into rollcall.users (source, id, version, changed_at, config, raw_user_meta_data, raw_app_meta_data) values ('supabase', '%s', 1, now() - interval '1 hour', 0, '{}', '{}')", fixture.ID(n+1)))
	}
	must.Fail(t, must.Err(d.Sync(t.Context(), "supabase", fixture.ID(1))), event.ErrUnavailable, "nor 5 others")
	d.Want("select count(*)::text from rollcall.users where deleted_at is null", "11")
	if got := d.sync("nobody"); got != "gone" { // there is nothing to lose
		t.Error(got)
	}
	d.Exec("drop table auth.users; alter table auth.right_users rename to users; delete from auth.users where id <> '" + fixture.ID(2) + "'")
	if got := d.sync(fixture.ID(2)); got != "2@x.test map[profiles:applied]" {
		t.Error(got)
	}
	if got := d.sync(fixture.ID(1)); got != "gone" {
		t.Error(got)
	}
	d.Want("select count(*)::text from rollcall.users where deleted_at is null", "10")
}

// One user of the roll that the provider knows makes it the right one.
func TestSyncRightProvider(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, nil)
	d.InsertUsers(2, 2)
	d.Exec(signUp)
	for n := range 3 {
		if got := d.sync(fixture.ID(n + 1)); got == "gone" {
			t.Fatal(got)
		}
	}
	d.Exec("delete from auth.users where id = '" + fixture.ID(1) + "';" + ageing)
	d.Syncer = reconcile.NewSyncer(d.SyncConfig) // knows nothing
	if got := d.sync(fixture.ID(1)); got != "gone" {
		t.Error(got)
	}
}

// A provider that lags does not delete users that the roll knows from a moment ago.
func TestSyncLag(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, func(d *syncProject) {
		d.MaxAge = 0
		d.provider.Lag = time.Minute
	})
	d.Exec(signUp)
	d.hears(synced, 1)
	d.Exec("delete from auth.users")
	d.hears(synced, 2)
	d.Exec(ageing)
	d.hears("gone", 3)
}

// A user is looked up ten times a minute at most; while those looks have found the user, the roll
// answers.
func TestSyncLimit(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := newSyncProject(t, func(d *syncProject) {
		d.MaxAge = 0
		d.Now = func() time.Time { return now }
	})
	for n := range 10 {
		now = now.Add(time.Second)
		d.hears("gone", int64(n)+1)
	}
	now = now.Add(time.Second)
	d.hears("limited for 50s", 10)
	if got := d.sync(fixture.ID(2)); got != "gone" {
		t.Errorf("another user: %s", got)
	}
	now = now.Add(50 * time.Second)
	d.Exec(signUp)
	d.hears(synced, 12)
	for n := range 9 {
		now = now.Add(time.Second)
		d.hears(synced, 13+int64(n))
	}
	d.Exec("update auth.users set email = 'new@x.test', updated_at = now()")
	d.hears(synced, 21)
	d.Exec(ageing)
	d.hears("limited for 51s", 21)
}

// A provider that is away, or says what can't be read, changes nothing.
func TestSyncProviderAway(t *testing.T) {
	t.Parallel()
	var answer []byte
	failure := errors.New("no route")
	d := newSyncProject(t, func(d *syncProject) {
		d.provider.Look = func(context.Context, string) ([]byte, error) { return answer, failure }
	})
	d.hears("unavailable", 1)
	answer, failure = []byte(`{"id":`), nil
	d.hears("unavailable", 2)
	d.Want("select id from rollcall.users")
}
