package reconcile_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/clerk"
	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
)

// What a page of 500 can't hold comes in several; what differs is mended, and who answers 404
// is buried.
func TestClerk(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 1100)
	o.inStep()
	o.want("select count(*)::text from rollcall.listed", "0")
	o.wantRun(postgres.Reconciled{Unchanged: 1100})
	if asked := o.asked(); len(asked) > 5 {
		t.Errorf("%d users were asked for singly", len(asked))
	}
	o.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "new@x.test" })
	o.clerk.Delete(ids[700])
	o.put(1)
	o.wantRun(postgres.Reconciled{Created: 1, Updated: 1, Deleted: 1, Unchanged: 1098})
	o.inStep()
	o.want("select listed || ' ' || coalesce(error, 'success') from rollcall.reconciliations where finished_at is not null group by 1", clerktest.Address+" success")
	o.want("select id from rollcall.users where deleted_at is not null and changed_at < now() - interval '1 minute'", ids[700])
	o.want("select count(*)::text from rollcall.events", "0")
	o.wantRun(postgres.Reconciled{Unchanged: 1100})
}

// Whatever the API does between two pages, everybody is found and nobody else is gone.
func TestClerkTrouble(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(o *office, ids []string){
		"cursor refused": func(o *office, _ []string) { o.clerk.SetCursor(clerktest.CursorRefused) },
		"cursor ignored": func(o *office, _ []string) { o.clerk.SetCursor(clerktest.CursorIgnored) },
		"429":            func(o *office, _ []string) { o.clerk.SetLimit(2, time.Second) },
		"500":            func(o *office, _ []string) { o.clerk.FailNext(2, http.StatusInternalServerError) },
		"cut off":        func(o *office, _ []string) { o.clerk.CutNext(1) },
		"slow":           func(o *office, _ []string) { o.clerk.SetDelay(200 * time.Millisecond) },
		"the cursor's user deleted": func(o *office, ids []string) {
			o.clerk.Delete(ids[499])
		},
		"somebody before deleted, and the cursor refused": func(o *office, ids []string) {
			o.clerk.SetCursor(clerktest.CursorRefused)
			for _, id := range ids[100:120] {
				o.clerk.Delete(id)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			ids := o.put(1200)
			once := sync.OnceFunc(func() { trouble(o, ids) })
			o.clerk.AfterPage(func(page int, _ url.Values) {
				if page == 1 {
					once()
				}
			})
			tally := o.run()
			if tally.Created != 1200 || tally.Failed != 0 {
				t.Errorf("got %+v", tally)
			}
			o.clerk.AfterPage(nil)
			o.clerk.SetLimit(0, 0)
			o.age()
			o.run() // whoever was deleted after he was listed
			o.inStep()
		})
	}
}

// A list of which half is missing buries nobody, whatever may be buried.
func TestClerkHalfTheList(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 120)
	hidden := map[string]bool{}
	for _, id := range ids[:60] {
		hidden[id] = true
	}
	o.clerk.Hide(func(id string) bool { return hidden[id] })
	o.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "hidden@x.test" })
	o.clerk.Update(ids[100], func(u *clerktest.User) { u.Email = "shown@x.test" })
	tally := o.fails(reconcile.ErrStopped, "nobody was buried", "ended after 60 of the 120 users")
	if want := (postgres.Reconciled{Updated: 1, Unchanged: 59}); tally != want {
		t.Errorf("got %+v, want %+v", tally, want)
	}
	_, err := reconcile.Preview(t.Context(), o.Config, func(reconcile.Finding) error { return nil })
	o.wantError(err, reconcile.ErrStopped, "ended after 60 of the 120 users")
	o.MaxDelete = 1
	o.wantRun(postgres.Reconciled{Updated: 1, Unchanged: 119}) // each of the others was asked for
	o.inStep()
	o.want("select count(*)::text from rollcall.users where deleted_at is not null", "0")
}

// A key that is refused changes nothing, not even the record of the runs.
func TestClerkWrongKey(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 20)
	o.clerk.Delete(ids[0])
	o.clerk.SetKey("sk_live_another")
	before := o.content()
	o.fails(clerk.ErrRefused, "api.key of source clerk")
	_, err := reconcile.Preview(t.Context(), o.Config, func(reconcile.Finding) error { return nil })
	o.wantError(err, clerk.ErrRefused, "api.key of source clerk")
	if after := o.content(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	o.want("select count(*)::text from rollcall.reconciliations", "1")
}

// A key that is withdrawn during a run interrupts it.
func TestClerkKeyWithdrawn(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.put(700)
	key := o.clerk.Key()
	o.clerk.BeforePage(func(page int, _ url.Values) {
		if page == 1 {
			o.clerk.SetKey("sk_live_another")
		}
	})
	tally := o.fails(clerk.ErrRefused, "after 500 of 700 users")
	if tally.Created != 500 {
		t.Errorf("got %+v", tally)
	}
	o.want("select count(*)::text from rollcall.reconciliations where finished_at is null and created = 500", "1")
	o.clerk.BeforePage(nil)
	o.clerk.SetKey(key)
	o.wantRun(postgres.Reconciled{Created: 700})
	o.want("select count(*)::text from rollcall.reconciliations", "1")
}

// The key of another instance is noticed before anybody is brought or buried.
func TestClerkWrongInstance(t *testing.T) {
	t.Parallel()
	o, _ := filled(t, 30)
	o.clerk = clerktest.New(t)
	o.put(40)
	o.connect(o.clerk)
	before := o.content()
	o.fails(reconcile.ErrStopped, "another instance", "none of the 20 users", "nothing was changed")
	_, err := reconcile.Preview(t.Context(), o.Config, func(f reconcile.Finding) error { return fmt.Errorf("found %v", f) })
	o.wantError(err, reconcile.ErrStopped, "another instance")
	if after := o.content(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	o.MaxDelete = 1 // said explicitly
	o.wantRun(postgres.Reconciled{Created: 40, Deleted: 30})
	o.inStep()
}

// A server that is not Clerk's may say 404 to whatever it is asked: not even who is alone in the
// roll is gone by that.
func TestClerkWrongAddress(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 1)
	o.MaxDelete = 1
	sync := func() error {
		_, err := reconcile.NewSyncer(reconcile.SyncConfig{
			Providers: map[string]reconcile.Provider{"clerk": reconcile.APIProvider(o.API, o.Source)}, DB: o.DB, Submit: o.pipeline.Submit,
		}).Sync(t.Context(), "clerk", ids[0])
		return err
	}
	o.clerk.FailEvery(1, http.StatusNotFound)
	o.wantError(sync(), event.ErrUnavailable, "not buried", "is this the right address?")
	if tally, err := reconcile.Run(t.Context(), o.Config); err == nil {
		t.Errorf("a run ended well: %+v", tally)
	}
	o.want("select id from people", ids[0])
	o.clerk.FailEvery(0, 0)
	o.clerk.Delete(ids[0])
	o.wantError(sync(), reconcile.ErrGone)
	o.want("select id from people")
}

// One user whom the API knows tells that it is the right instance.
func TestClerkRightInstance(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 25)
	for _, id := range ids[:20] { // that just these are chosen happens once in 53,130 times
		o.clerk.Delete(id)
	}
	o.fails(reconcile.ErrStopped, "20 of the 25 users", "gone from "+clerktest.Address, "is this the key of the right instance?", "--max-delete 80%")
	o.want("select count(*)::text from people", "25")
	o.MaxDelete = 0.8
	o.wantRun(postgres.Reconciled{Deleted: 20, Unchanged: 5})
}

// An instance without users ends nobody.
func TestClerkEmpty(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 10)
	for _, id := range ids {
		o.clerk.Delete(id)
	}
	o.fails(reconcile.ErrStopped, "reads empty", "the right instance")
	o.want("select count(*)::text from people", "10")
	o.MaxDelete = 1
	o.wantRun(postgres.Reconciled{Deleted: 10})
}

// A run that was interrupted goes on behind its last page, and remembers whom the pages before
// have shown.
func TestClerkResume(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 1200)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := o.Config
	cfg.Progress = func(int64, int64) { cancel() }
	if _, err := reconcile.Run(ctx, cfg); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "after 500 of 1200 users") {
		t.Fatalf("got %v", err)
	}
	o.clerk.ForgetRequests()
	o.clerk.Delete(ids[1]) // was shown: the next run's affair
	o.wantRun(postgres.Reconciled{Unchanged: 1200})
	if asked := o.asked(); len(asked) > 5 {
		t.Errorf("%d users were asked for singly", len(asked))
	}
	for _, r := range o.clerk.Requests() {
		if r.Kind == clerktest.List && r.Query.Get("starting_after") < ids[499] {
			t.Errorf("listed again after %q", r.Query.Get("starting_after"))
		}
	}
	o.want("select count(*)::text from rollcall.reconciliations", "2")
	o.want("select count(*)::text from rollcall.listed", "0")
	o.wantRun(postgres.Reconciled{Deleted: 1, Unchanged: 1199})
}

// Whom an abandoned run has been shown says nothing about today.
func TestClerkBeginsAnew(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 600)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := o.Config
	cfg.Progress = func(int64, int64) { cancel() }
	if _, err := reconcile.Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	o.exec("update rollcall.reconciliations set started_at = started_at - interval '7 hours'")
	o.clerk.Delete(ids[1])
	o.wantRun(postgres.Reconciled{Deleted: 1, Unchanged: 599})
}

// What webhooks tell while the list is on its way is newer than the list.
func TestClerkMeanwhile(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 40)
	o.clerk.Delete(ids[2])
	var born clerktest.User
	o.clerk.AfterPage(func(int, url.Values) {
		o.clerk.AfterPage(nil)
		born = o.clerk.Put(clerktest.User{Email: "born@x.test"})
		o.hook("user.created", born.ID)
		o.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "edited@x.test" })
		o.hook("user.updated", ids[0])
		o.clerk.Delete(ids[1])
		o.hook("user.deleted", ids[1])
	})
	o.wantRun(postgres.Reconciled{Deleted: 1, Unchanged: 39})
	o.inStep()
	if o.asked()[born.ID] {
		t.Error("who came meanwhile was asked for")
	}
	o.wantRun(postgres.Reconciled{Unchanged: 39})
}

// Of whom the roll learns again after the API has said that he is gone is not buried.
func TestClerkBackMeanwhile(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 40)
	o.clerk.Delete(ids[0])
	submit := o.Submit
	cfg := o.Config
	cfg.Submit = func(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
		for _, e := range events {
			if e.Op == event.Delete {
				o.hook("session.created", ids[0]) // the same version
			}
		}
		return submit(ctx, events)
	}
	tally, err := reconcile.Run(t.Context(), cfg)
	if want := (postgres.Reconciled{Unchanged: 40}); err != nil || tally != want {
		t.Errorf("got %+v, %v; want %+v", tally, err, want)
	}
	o.want("select count(*)::text from people where id = '"+ids[0]+"'", "1")
}

// An API that is behind the webhooks has nobody buried who is new to it, and brings nobody
// back.
func TestClerkLag(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 40)
	o.clerk.SetLag(30 * time.Second)
	var born []string
	for i := range 10 {
		u := o.clerk.Put(clerktest.User{Email: fmt.Sprint("born", i, "@x.test")})
		born = append(born, u.ID)
		o.hook("user.created", u.ID)
	}
	o.clerk.Delete(ids[0])
	o.hook("user.deleted", ids[0])
	o.clerk.Update(ids[1], func(u *clerktest.User) { u.Email = "edited@x.test" })
	o.hook("user.updated", ids[1])
	o.wantRun(postgres.Reconciled{Unchanged: 40})
	o.inStep()
	for _, id := range born {
		if o.asked()[id] {
			t.Errorf("%s was asked for", id)
		}
	}
}

// When all that the roll knows is new, the API need not know anybody.
func TestClerkAllNew(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.clerk.SetLag(30 * time.Second)
	o.put(1)
	for i := range 3 {
		o.hook("user.created", o.clerk.Put(clerktest.User{Email: fmt.Sprint("born", i, "@x.test")}).ID)
	}
	o.wantRun(postgres.Reconciled{Created: 1})
	o.inStep()
}

// A dry run says what a run would do, and writes nothing.
func TestClerkPreview(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 600)
	o.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "new@x.test" })
	o.clerk.Delete(ids[1])
	o.clerk.Hide(func(id string) bool { return id == ids[2] })
	born := o.put(1)[0]
	before := o.content()
	var got []string
	tally, err := reconcile.Preview(t.Context(), o.Config, func(f reconcile.Finding) error {
		got = append(got, fmt.Sprint(f.Action, " ", f.User, " ", f.Reason))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"updated " + ids[0] + " ", "created " + born + " ", "deleted " + ids[1] + " no longer in " + clerktest.Address}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want := (postgres.Reconciled{Created: 1, Updated: 1, Deleted: 1, Unchanged: 598}); tally != want {
		t.Errorf("got %+v, want %+v", tally, want)
	}
	if after := o.content(); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	o.want("select count(*)::text from rollcall.reconciliations", "1")
	o.wantRun(tally) // and a run does what it said
}

// A role without temporary tables is told what its dry run lacks.
func TestClerkPreviewWithoutTemporary(t *testing.T) {
	t.Parallel()
	o, _ := filled(t, 1)
	role := "plain_" + strings.ToLower(rand.Text())
	o.exec(fmt.Sprintf(`create role %[1]s login; grant usage on schema rollcall to %[1]s; grant select on all tables in schema rollcall to %[1]s;
do $$ begin execute format('revoke temporary on database %%I from public', current_database()); end $$`, role))
	t.Cleanup(func() {
		_, _ = o.sql.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]s; drop role %[1]s", role))
	})
	var err error
	if o.DB, err = postgres.Open(postgres.Config{URL: pgtest.As(t, o.sql.Config().ConnString(), role), Log: o.Log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.DB.Close)
	_, err = reconcile.Preview(t.Context(), o.Config, func(reconcile.Finding) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `grant temporary on database "`) || !strings.Contains(err.Error(), `to "`+role+`"`) {
		t.Errorf("got %v", err)
	}
}

// A dry run stops where a run would.
func TestClerkPreviewGuards(t *testing.T) {
	t.Parallel()
	o, ids := filled(t, 100)
	for _, id := range ids[:6] {
		o.clerk.Delete(id)
	}
	_, err := reconcile.Preview(t.Context(), o.Config, func(f reconcile.Finding) error { return fmt.Errorf("found %v", f) })
	o.wantError(err, reconcile.ErrStopped, "6 of the 100 users")
	o.fails(reconcile.ErrStopped, "6 of the 100 users")
	o.MaxDelete = 0.06
	o.wantRun(postgres.Reconciled{Deleted: 6, Unchanged: 94})
}

// A user without an id is counted, a user with metadata that can't be used is brought in without
// it, and a second run finds nothing to do about either.
func TestClerkUnreadable(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ids := o.put(30)
	deep := map[string]any{}
	for range 250 {
		deep = map[string]any{"a": deep}
	}
	o.clerk.Update(ids[0], func(u *clerktest.User) { u.Unsafe = deep })
	o.connectBy(o.clerk, &http.Client{Transport: without{o.clerk.Client().Transport, ids[1]}})
	o.wantRun(postgres.Reconciled{Created: 29, Failed: 1})
	o.want("select count(*)::text from people", "29")
	o.want("select id || ' ' || array_to_string(kept, ' ') from rollcall.users where kept is not null", ids[0]+" raw_user_meta_data")
	o.wantRun(postgres.Reconciled{Unchanged: 29, Failed: 1})
}

// Another run of the source is not disturbed.
func TestClerkOneAtATime(t *testing.T) {
	t.Parallel()
	o, _ := filled(t, 5)
	r, err := o.DB.BeginReconciliation(t.Context(), "clerk", o.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	o.exec("insert into rollcall.listed values ('clerk', 'somebody')")
	o.fails(postgres.ErrRunning)
	o.want("select id from rollcall.listed", "somebody")
}
