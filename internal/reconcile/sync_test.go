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
	_, email, _ := strings.Cut(string(m.Record), `"email":"`)
	email, _, _ = strings.Cut(email, `"`)
	return fmt.Sprint(email, " ", m.Targets)
}

// answers fails unless the next request about a user is answered so.
func (d *syncProject) answers(id, want string) {
	d.T.Helper()
	must.Equal(d.T, d.sync(id), want, "answer about ", id)
}

// hears is answers for user 1, after so many looks in all.
func (d *syncProject) hears(want string, looks int64) {
	d.T.Helper()
	d.answers(fixture.ID(1), want)
	must.Equal(d.T, d.looks.Load(), looks, "looks")
}

// held has each look begin with asked, and go on when answer is closed.
func (d *syncProject) held() (asked, answer chan struct{}) {
	asked, answer = make(chan struct{}), make(chan struct{})
	look := d.provider.Look
	d.provider.Look = func(ctx context.Context, id string) ([]byte, error) {
		asked <- struct{}{}
		<-answer
		return look(ctx, id)
	}
	return asked, answer
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
		asking.Go(func() { d.answers(fixture.ID(1), synced) })
	}
	asking.Wait()
	d.hears(synced, 1)
	d.Want("select id || ' ' || email from profiles", fixture.ID(1)+" 1@x.test")
	d.Want("select id from rollcall.events")
}

// The first request may leave: the others wait for the same look.
func TestSyncLeaver(t *testing.T) {
	t.Parallel()
	var asked, answer chan struct{}
	d := newSyncProject(t, func(d *syncProject) { asked, answer = d.held() })
	d.Exec(signUp)
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan string)
	go func() { left <- said(d.Sync(leaving, "supabase", fixture.ID(1))) }()
	<-asked
	stays := make(chan string)
	go func() { stays <- d.sync(fixture.ID(1)) }()
	leave()
	must.Equal(t, <-left, "unavailable", "answer to the request that left")
	close(answer)
	must.Equal(t, <-stays, synced, "answer to the one that stayed")
}

// A request that joins a look learns what was acknowledged before it came, even if the look had begun before.
func TestSyncJoiner(t *testing.T) {
	t.Parallel()
	var asked, answer chan struct{}
	d := newSyncProject(t, func(d *syncProject) { asked, answer = d.held() })
	first, joins := make(chan string), make(chan string)
	go func() { first <- d.sync(fixture.ID(1)) }()
	<-asked
	email, now := "1@x.test", time.Now()
	u := &event.User{Row: event.Row{Source: "supabase", ID: fixture.ID(1), Version: 1}, Email: &email, RawUserMetaData: "{}", RawAppMetaData: "{}"}
	must.Get(d.pipeline.Submit(t.Context(), event.Event{Source: "supabase", ID: "1", Op: event.Upsert, UserID: u.ID, User: u, ReceivedAt: now}))(t)
	go func() { joins <- d.sync(fixture.ID(1)) }()
	time.Sleep(100 * time.Millisecond) // if it comes too late to join, it finds the roll young
	close(answer)
	must.Equal(t, <-first, "gone", "answer to the first")
	must.Equal(t, <-joins, synced, "answer to the one that joined")
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
	err := must.Err(d.Sync(t.Context(), "supabase", fixture.ID(1)))
	must.Fail(t, err, event.ErrUnavailable, "panic: ", "sync_test.go")
	if err != nil && strings.Contains(err.Error(), "for a test") {
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
		d.answers(odd, "gone")
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
	d.answers(fixture.ID(2), "2@x.test map[profiles:applied]")
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
	d.answers("nobody", "gone") // there is nothing to lose
	d.Exec("drop table auth.users; alter table auth.right_users rename to users; delete from auth.users where id <> '" + fixture.ID(2) + "'")
	d.answers(fixture.ID(2), "2@x.test map[profiles:applied]")
	d.answers(fixture.ID(1), "gone")
	d.Want("select count(*)::text from rollcall.users where deleted_at is null", "10")
}

// One user of the roll that the provider knows makes it the right one.
func TestSyncRightProvider(t *testing.T) {
	t.Parallel()
	d := newSyncProject(t, nil)
	d.InsertUsers(2, 2)
	d.Exec(signUp)
	for n := range 3 {
		d.answers(fixture.ID(n+1), fmt.Sprint(n+1, "@x.test map[profiles:applied]"))
	}
	d.Exec("delete from auth.users where id = '" + fixture.ID(1) + "';" + ageing)
	d.Syncer = reconcile.NewSyncer(d.SyncConfig) // knows nothing
	d.answers(fixture.ID(1), "gone")
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
	d.answers(fixture.ID(2), "gone") // another user is looked up
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
