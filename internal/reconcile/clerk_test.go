package reconcile_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
)

// Users beyond a page of 500 come in several pages; what differs is updated, and users that answer 404
// are deleted.
func TestClerk(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 1100)
	in.inStep()
	in.Want("select count(*)::text from rollcall.listed", "0")
	in.wantRun(directory.Reconciled{Unchanged: 1100})
	if asked := in.asked(); len(asked) > 5 {
		t.Errorf("%d users were asked for singly", len(asked))
	}
	in.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "new@x.test" })
	in.clerk.Delete(ids[700])
	in.put(1)
	in.wantRun(directory.Reconciled{Created: 1, Updated: 1, Deleted: 1, Unchanged: 1098})
	in.inStep()
	in.Want("select listed || ' ' || coalesce(error, 'success') from rollcall.reconciliations where finished_at is not null group by 1", clerktest.Address+" success")
	in.Want("select id from rollcall.users where deleted_at is not null and changed_at < now() - interval '1 minute'", ids[700])
	in.Want("select count(*)::text from rollcall.events", "0")
	in.wantRun(directory.Reconciled{Unchanged: 1100})
}

// Whatever the API does between two pages, every user is found and no other is deleted.
func TestClerkTrouble(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(in *instance, ids []string){
		"cursor refused": func(in *instance, _ []string) { in.clerk.SetCursor(clerktest.CursorRefused) },
		"cursor ignored": func(in *instance, _ []string) { in.clerk.SetCursor(clerktest.CursorIgnored) },
		"429":            func(in *instance, _ []string) { in.clerk.SetLimit(2, time.Second) },
		"500":            func(in *instance, _ []string) { in.clerk.FailNext(2, http.StatusInternalServerError) },
		"cut off":        func(in *instance, _ []string) { in.clerk.CutNext(1) },
		"slow":           func(in *instance, _ []string) { in.clerk.SetDelay(200 * time.Millisecond) },
		"the cursor's user deleted": func(in *instance, ids []string) {
			in.clerk.Delete(ids[499])
		},
		"users before deleted, and the cursor refused": func(in *instance, ids []string) {
			in.clerk.SetCursor(clerktest.CursorRefused)
			for _, id := range ids[100:120] {
				in.clerk.Delete(id)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newInstance(t)
			ids := in.put(1200)
			once := sync.OnceFunc(func() { trouble(in, ids) })
			in.clerk.AfterPage(func(page int, _ url.Values) {
				if page == 1 {
					once()
				}
			})
			if tally := in.run(); tally.Created != 1200 || tally.Failed != 0 {
				t.Errorf("got %+v", tally)
			}
			in.clerk.AfterPage(nil)
			in.clerk.SetLimit(0, 0)
			in.age()
			in.run() // removes users deleted after they were listed
			in.inStep()
		})
	}
}

// A list of which half is missing deletes no user, whatever max_delete allows.
func TestClerkHalfTheList(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 120)
	in.clerk.Hide(func(id string) bool { return slices.Contains(ids[:60], id) })
	in.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "hidden@x.test" })
	in.clerk.Update(ids[100], func(u *clerktest.User) { u.Email = "shown@x.test" })
	tally := in.fails(reconcile.ErrStopped, "no user was deleted", "ended after 60 of the 120 users")
	must.Equal(t, tally, directory.Reconciled{Updated: 1, Unchanged: 59}, "a stopped run")
	in.previewFails(reconcile.ErrStopped, "ended after 60 of the 120 users")
	in.MaxDelete = 1
	in.wantRun(directory.Reconciled{Updated: 1, Unchanged: 119}) // each of the others was asked for
	in.inStep()
	in.Want("select count(*)::text from rollcall.users where deleted_at is not null", "0")
}

// A key that is refused changes nothing, not even the record of the runs.
func TestClerkWrongKey(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 20)
	in.clerk.Delete(ids[0])
	in.clerk.SetKey("sk_live_another")
	in.unchanged(func() {
		in.fails(clerk.ErrRefused, "api.key of source clerk")
		in.previewFails(clerk.ErrRefused, "api.key of source clerk")
	})
	in.Want("select count(*)::text from rollcall.reconciliations", "1")
}

// A key that is withdrawn during a run interrupts it.
func TestClerkKeyWithdrawn(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.put(700)
	key := in.clerk.Key()
	in.clerk.BeforePage(func(page int, _ url.Values) {
		if page == 1 {
			in.clerk.SetKey("sk_live_another")
		}
	})
	must.Equal(t, in.fails(clerk.ErrRefused, "after 500 of 700 users").Created, 500, "created")
	in.Want("select count(*)::text from rollcall.reconciliations where finished_at is null and created = 500", "1")
	in.clerk.BeforePage(nil)
	in.clerk.SetKey(key)
	in.wantRun(directory.Reconciled{Created: 700})
	in.Want("select count(*)::text from rollcall.reconciliations", "1")
}

// The key of another instance is noticed before any user is added or deleted.
func TestClerkWrongInstance(t *testing.T) {
	t.Parallel()
	in, _ := filled(t, 30)
	in.clerk = clerktest.New(t)
	in.put(40)
	in.connect(in.clerk, in.clerk.Client())
	in.unchanged(func() {
		in.fails(reconcile.ErrStopped, "another instance", "none of the 20 users", "nothing was changed")
		must.Equal(t, in.previewFails(reconcile.ErrStopped, "another instance"), nil, "findings")
	})
	in.MaxDelete = 1 // said explicitly
	in.wantRun(directory.Reconciled{Created: 40, Deleted: 30})
	in.inStep()
}

// A server that is not Clerk's may say 404 to whatever it is asked: not even who is alone in the
// roll is gone by that.
func TestClerkWrongAddress(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 1)
	in.MaxDelete = 1
	in.clerk.FailEvery(1, http.StatusNotFound)
	in.wantError(in.sync(ids[0]), event.ErrUnavailable, "nothing was deleted", "is this the right address?")
	if tally, err := reconcile.Run(t.Context(), in.Config); err == nil {
		t.Errorf("a run ended well: %+v", tally)
	}
	in.Want("select id from people", ids[0])
	in.clerk.FailEvery(0, 0)
	in.clerk.Delete(ids[0])
	in.wantError(in.sync(ids[0]), reconcile.ErrGone)
	in.Want("select id from people")
}

// A run and a dry run stop alike when more are gone than max_delete allows.
func TestClerkGuards(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		users, gone int
		says        []string
		maxDelete   float64 // that is enough
	}{
		"some are gone": {100, 6, []string{"6 of the 100 users"}, 0.06},
		// One user that the API knows tells that it is the right instance. That a run asks for just the others
		// happens once in 53,130 times.
		"most are gone": {25, 20, []string{
			"20 of the 25 users", "gone from " + clerktest.Address, "is this the key of the right instance?", "--max-delete 80%",
		}, 0.8},
		"all are gone": {10, 10, []string{"reads empty", "the right instance"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, ids := filled(t, test.users)
			for _, id := range ids[:test.gone] {
				in.clerk.Delete(id)
			}
			must.Equal(t, in.previewFails(reconcile.ErrStopped, test.says...), nil, "findings")
			in.fails(reconcile.ErrStopped, test.says...)
			in.Want("select count(*)::text from people", fmt.Sprint(test.users))
			in.MaxDelete = test.maxDelete
			in.wantRun(directory.Reconciled{Deleted: int64(test.gone), Unchanged: int64(test.users - test.gone)})
		})
	}
}

// A run that was interrupted goes on behind its last page, and remembers the users that the pages
// before have shown.
func TestClerkResume(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 1200)
	in.interrupted(0, "after 500 of 1200 users")
	in.clerk.ForgetRequests()
	in.clerk.Delete(ids[1]) // was shown: the next run's affair
	in.wantRun(directory.Reconciled{Unchanged: 1200})
	if asked := in.asked(); len(asked) > 5 {
		t.Errorf("%d users were asked for singly", len(asked))
	}
	for _, r := range in.clerk.Requests() {
		if r.Kind == clerktest.List && r.Query.Get("starting_after") < ids[499] {
			t.Errorf("listed again after %q", r.Query.Get("starting_after"))
		}
	}
	in.Want("select count(*)::text from rollcall.reconciliations", "2")
	in.Want("select count(*)::text from rollcall.listed", "0")
	in.wantRun(directory.Reconciled{Deleted: 1, Unchanged: 1199})
}

// The users that an abandoned run has listed say nothing about today.
func TestClerkBeginsAnew(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 600)
	in.interrupted(0)
	in.Exec("update rollcall.reconciliations set started_at = started_at - interval '7 hours'")
	in.clerk.Delete(ids[1])
	in.wantRun(directory.Reconciled{Deleted: 1, Unchanged: 599})
}

// What webhooks tell while the list is on its way is newer than the list.
func TestClerkMeanwhile(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 40)
	in.clerk.Delete(ids[2])
	var born clerktest.User
	in.clerk.AfterPage(func(int, url.Values) {
		in.clerk.AfterPage(nil)
		born = in.clerk.Put(clerktest.User{Email: "born@x.test"})
		in.hook("user.created", born.ID)
		in.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "edited@x.test" })
		in.hook("user.updated", ids[0])
		in.clerk.Delete(ids[1])
		in.hook("user.deleted", ids[1])
	})
	in.wantRun(directory.Reconciled{Deleted: 1, Unchanged: 39})
	in.inStep()
	if in.asked()[born.ID] {
		t.Error("who came meanwhile was asked for")
	}
	in.wantRun(directory.Reconciled{Unchanged: 39})
}

// A user that the roll learns of again after the API has said they are gone is not deleted.
func TestClerkBackMeanwhile(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 40)
	in.clerk.Delete(ids[0])
	submit := in.Submit
	in.Submit = func(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
		for _, e := range events {
			if e.Op == event.Delete {
				in.hook("session.created", ids[0]) // the same version
			}
		}
		return submit(ctx, events)
	}
	in.wantRun(directory.Reconciled{Unchanged: 40})
	in.Want("select count(*)::text from people where id = '"+ids[0]+"'", "1")
}

// An API that is behind the webhooks neither has users deleted that are new to it, nor brings deleted
// ones back.
func TestClerkLag(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 40)
	in.clerk.SetLag(30 * time.Second)
	var born []string
	for i := range 10 {
		u := in.clerk.Put(clerktest.User{Email: fmt.Sprint("born", i, "@x.test")})
		born = append(born, u.ID)
		in.hook("user.created", u.ID)
	}
	in.clerk.Delete(ids[0])
	in.hook("user.deleted", ids[0])
	in.clerk.Update(ids[1], func(u *clerktest.User) { u.Email = "edited@x.test" })
	in.hook("user.updated", ids[1])
	in.wantRun(directory.Reconciled{Unchanged: 40})
	in.inStep()
	for _, id := range born {
		if in.asked()[id] {
			t.Errorf("%s was asked for", id)
		}
	}
}

// When all that the roll knows is new, the API need not know any of them.
func TestClerkAllNew(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	in.clerk.SetLag(30 * time.Second)
	in.put(1)
	for i := range 3 {
		in.hook("user.created", in.clerk.Put(clerktest.User{Email: fmt.Sprint("born", i, "@x.test")}).ID)
	}
	in.wantRun(directory.Reconciled{Created: 1})
	in.inStep()
}

// A dry run says what a run would do, and writes nothing.
func TestClerkPreview(t *testing.T) {
	t.Parallel()
	in, ids := filled(t, 600)
	in.clerk.Update(ids[0], func(u *clerktest.User) { u.Email = "new@x.test" })
	in.clerk.Delete(ids[1])
	in.clerk.Hide(func(id string) bool { return id == ids[2] })
	born := in.put(1)[0]
	want := directory.Reconciled{Created: 1, Updated: 1, Deleted: 1, Unchanged: 598}
	in.unchanged(func() {
		found, tally, err := in.preview()
		must.Do(t, err)
		var got []string
		for _, f := range found {
			got = append(got, fmt.Sprint(f.Action, " ", f.User, " ", f.Reason))
		}
		must.Equal(t, got, []string{
			"updated " + ids[0] + " ", "created " + born + " ", "deleted " + ids[1] + " no longer in " + clerktest.Address,
		}, "findings")
		must.Equal(t, tally, want, "a dry run")
	})
	in.Want("select count(*)::text from rollcall.reconciliations", "1")
	in.wantRun(want) // and a run does what it said
}

// A role without temporary tables is told what its dry run lacks.
func TestClerkPreviewWithoutTemporary(t *testing.T) {
	t.Parallel()
	in, _ := filled(t, 1)
	role := in.Role("")
	in.Exec("do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$")
	in.DB = must.Get(postgres.Open(postgres.Config{URL: pgtest.As(t, in.Address, role), Log: in.Log}))(t)
	t.Cleanup(in.DB.Close)
	in.previewFails(nil, `grant temporary on database "`, `to "`+role+`"`)
}

// A user without an id is counted, a user with metadata that can't be used is brought in without
// it, and a second run finds nothing to do about either.
func TestClerkUnreadable(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	ids := in.put(30)
	deep := map[string]any{}
	for range 250 {
		deep = map[string]any{"a": deep}
	}
	in.clerk.Update(ids[0], func(u *clerktest.User) { u.Unsafe = deep })
	in.connect(in.clerk, &http.Client{Transport: without{in.clerk.Client().Transport, ids[1]}})
	in.wantRun(directory.Reconciled{Created: 29, Failed: 1})
	in.Want("select count(*)::text from people", "29")
	in.Want("select id || ' ' || array_to_string(kept, ' ') from rollcall.users where kept is not null", ids[0]+" raw_user_meta_data")
	in.wantRun(directory.Reconciled{Unchanged: 29, Failed: 1})
}

// Another run of the source is not disturbed.
func TestClerkOneAtATime(t *testing.T) {
	t.Parallel()
	in, _ := filled(t, 5)
	r := must.Get(in.DB.Directory().BeginRun(t.Context(), "clerk", in.URL))(t)
	defer r.Release()
	in.Exec("insert into rollcall.listed values ('clerk', 'user_x')")
	in.fails(connection.ErrRunning)
	in.Want("select id from rollcall.listed", "user_x")
}
