package roll_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
)

// beginLook runs the transaction of a look up to its commit, and stops there.
func beginLook(b *fixture.Bench, events ...event.Event) *fixture.Paused {
	b.T.Helper()
	return b.Begin(b.LookWork("app", events))
}

// A look that waits for another one reads the table after it: what was committed meanwhile counts.
func TestRaceLookReadsBehindTheLock(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"a user of the roll": true, "a placeholder": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := followed(t)
			insertUsers(b, 1)
			if known {
				signal(b, event.Applied, lookAt(1))
			}
			first := beginLook(b, lookAt(1))
			release := func() {
				b.Exec("update auth.users set email = 'two@x.test', updated_at = updated_at - interval '1 s'")
				first.Commit()
			}
			must.Do(t, fixture.Beside(applying(b, lookAt(1)), release))
			b.Want("select u.email, p.email from rollcall.users u join p on p.id::text = u.id", "two@x.test|two@x.test")
			b.Want(noPlaceholders, "0")
		})
	}
}

// A look that has locked and not read yet sees what is committed then: a joiner needs no look of
// its own before.
func TestRaceLookReadsAfterItsLock(t *testing.T) {
	t.Parallel()
	b := followed(t)
	w := b.LookWork("app", []event.Event{lookAt(1)})
	p := b.Pause(b.Steps(w, b.All()))
	p.Run(3) // begin, settings, locks
	insertUsers(b, 1)
	p.Run(len(p.Left))
	b.Want("select email from p", "1@x.test")
}

// Two looks wait for one placeholder: whichever way the first ends, the second is right, and no
// placeholder is ever seen or left.
func TestRaceTwoLooksAtNobody(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{"committed": "commit", "rolled back": "rollback"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := followed(t)
			first := beginLook(b, lookAt(1), lookAt(2))
			b.Want("select count(*) from rollcall.users", "0")
			release := func() {
				b.Want("select count(*) from rollcall.users", "0")
				insertUsers(b, 2)
				pgtest.Exec(t, first.Conn, end)
			}
			must.Do(t, fixture.Beside(applying(b, lookAt(2), lookAt(1)), release))
			b.Want("select id, email from rollcall.users", userID(2)+"|2@x.test")
			b.Want("select count(*) from p", "1")
		})
	}
}

// A crash between lock and commit leaves nothing.
func TestRaceLookThatDies(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	p := beginLook(b, lookAt(1), hook(2, "two"))
	must.Do(t, p.Conn.PgConn().Conn().Close())
	b.Await("select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'")
	b.Want("select (select count(*) from rollcall.users) + (select count(*) from rollcall.events)", "0")
	b.Applies([]event.Outcome{event.Applied, event.Stale}, lookAt(1), hook(2, "two"))
	b.Want(noPlaceholders, "0")
}

// A body batch waits for a placeholder of a look, and the other way round; each finds the other's
// user. A source may be a table source for one replica alone.
func TestRaceLookBesideABody(t *testing.T) {
	t.Parallel()
	b := followed(t)
	looking := beginLook(b, lookAt(1), lookAt(2))
	bodies := func() error { return pipelinedOnly(b, hook(2, "two"), hook(1, "one")) }
	must.Do(t, fixture.Beside(bodies, looking.Commit))
	b.Want("select count(*) from rollcall.users where email = 'said@x.test'", "2")
	said := b.Begin(b.Work([]event.Event{hook(1, "one more")}))
	release := func() {
		insertUsers(b, 1)
		said.Commit()
	}
	must.Do(t, fixture.Beside(applying(b, lookAt(1), lookAt(2)), release))
	b.Want("select email from p order by 1", "1@x.test")
}

// A user who comes back beside a deletion that is under way: the later read decides.
func TestRaceRevivedBesideADeletion(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	signal(b, event.Applied, lookAt(1))
	b.Exec("delete from auth.users")
	gone := lookAt(1)
	gone.Op = event.Delete
	deleting := beginLook(b, gone)
	release := func() { insertUsers(b, 1); deleting.Commit() }
	must.Do(t, fixture.Beside(applying(b, lookAt(1)), release))
	b.Want("select email from p", "1@x.test")
	b.Want("select deleted_at from rollcall.users", "∅")
	signal(b, event.Applied, gone) // late
	b.Want("select email from p", "1@x.test")
}

// A table of users that a migration holds delays signals alone. Bodies of other sources go on, and
// so do signals once it is free.
func TestRaceLockedTableOfUsers(t *testing.T) {
	t.Parallel()
	tgt := fixture.Members()
	tgt.From = append(tgt.From, target.Origin{Source: "other", SampleID: userID(9)})
	b := fixture.NewBench(t, fixture.UsersTable, tgt)
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	insertUsers(b, 1)
	migration := b.Hold("lock table auth.users in access exclusive mode")
	ended := make(chan error, 1)
	go func() {
		for {
			_, err := b.Apply(t.Context(), []event.Event{lookAt(1)})
			if err == nil || !errors.Is(err, event.ErrUnavailable) {
				ended <- err
				return
			}
		}
	}()
	for n := range 20 {
		e := fixture.Said(fixture.User(userID(2), int64(n), "other@x.test"))
		e.Source, e.User.Source, e.ID = "other", "other", fmt.Sprint(n)
		began := time.Now()
		signal(b, event.Applied, e)
		must.True(t, time.Since(began) <= 2*time.Second, "a body took %s", time.Since(began))
	}
	b.Want("select count(*) from p", "1")
	migration.Run("commit")
	must.Do(t, <-ended)
	b.Want("select count(*) from p", "2")
}

// A migration waits for a look that waits for a row of a target no longer than that look is allowed
// to wait for it.
func TestRaceMigrationBehindALook(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	signal(b, event.Applied, lookAt(1))
	b.Exec("update auth.users set email = 'new@x.test'")
	application := b.Hold("select from p for update")
	looked := make(chan error, 1)
	go func() { looked <- applying(b, lookAt(1))() }()
	time.Sleep(100 * time.Millisecond)
	migration := pgtest.Connect(t, b.Address)
	began := time.Now()
	migration.Run("begin; lock table auth.users in access exclusive mode; rollback")
	took := time.Since(began)
	t.Logf("the migration waited for %s, with a lock_timeout of %s", took, b.Pool.LockTimeout())
	must.True(t, took <= b.Pool.LockTimeout()+2*time.Second, "the migration waited for %s", took)
	must.Do(t, <-looked)
	b.Want("select count(*) from rollcall.parked", "1")
	application.Run("rollback")
}

// Looks, bodies of another replica, ends of bans, another try, backfills and repairs meet at the
// same users in any order: nothing is lost, and no deadlock reaches a caller.
func TestRaceLooksBesideEverything(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	b.Exec("alter table p add constraint c unique (email)")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	work := []func(n int) error{
		func(n int) error { return applying(b, lookAt(n%9+1), lookAt((n+4)%9+1), lookAt((n*7)%9+1))() },
		func(n int) error { return applying(b, hook((n*5)%9+1, fmt.Sprint("h", n)), lookAt((n+1)%9+1))() },
		func(int) error { return must.Err(b.EndBans(b.T.Context())) },
		func(n int) error {
			e, f := hook((n*3)%9+1, fmt.Sprint("b", n)), hook((n*2)%9+1, fmt.Sprint("c", n))
			return must.Err(b.ApplyBodies(b.T.Context(), []event.Event{e, f}))
		},
		func(int) error { return must.Err(b.Parked.CatchUp(b.T.Context(), "profiles")) },
		func(int) error { return must.Err(b.DB.Audit().Report(b.T.Context(), audit.Options{Repair: true})) },
	}
	ended := make(chan error, len(work))
	for _, do := range work {
		go func() {
			for n := 0; ; n++ {
				if err := do(n); err != nil || ctx.Err() != nil {
					ended <- err
					return
				}
			}
		}()
	}
	random := 0
	for ctx.Err() == nil {
		random++
		b.Exec(fmt.Sprintf("update auth.users set email = '%d@x.test', banned_until = now() + interval '5 ms' where id = '%s'", random, userID(random%9+1)))
	}
	for range work {
		must.Do(t, <-ended)
	}
	signal(b, event.Applied, lookAt(1), lookAt(2), lookAt(3), lookAt(4), lookAt(5), lookAt(6), lookAt(7), lookAt(8), lookAt(9))
	b.Want("select a.id from auth.users a left join p on p.id = a.id left join rollcall.users u on u.id = a.id::text where (a.email, a.email) is distinct from (p.email, u.email)")
	b.Want(noPlaceholders, "0")
	t.Logf("%d updates", random)
}
