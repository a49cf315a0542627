package roll_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

// pipelinedOnly commits a batch by the fast path; it has no other way to succeed.
func pipelinedOnly(b *fixture.Bench, events ...event.Event) error { return b.Pipelined(b.Work(events)) }

func settleAgain(b *fixture.Bench, id string) error {
	return b.Pipelined(roll.Repair(fixture.Updated(id, 0, ""), event.Duplicate))
}

// applying applies events when it is called.
func applying(b *fixture.Bench, events ...event.Event) func() error {
	return func() error { return must.Err(b.Apply(b.T.Context(), events)) }
}

// applyBeside applies events in a goroutine of the test's own.
func applyBeside(b *fixture.Bench, events []event.Event) {
	if err := applying(b, events...)(); err != nil {
		b.T.Error(err)
	}
}

// An e-mail passes from a deleted user to the next one within a batch.
func TestRaceEmailOfADeletedUserInOneBatch(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "x"))
	must.Do(t, pipelinedOnly(b, fixture.Gone("a", 2), fixture.Updated("b", 1, "x")))
	b.Want("select id, email from p", "b|x")
}

// A transaction waits for another one about the same user, which commits meanwhile.
func TestRaceBesideACommit(t *testing.T) {
	t.Parallel()
	six := fixture.Updated("a", 6, "six")
	update := func(version int64, email string) func(*fixture.Bench) error {
		return func(b *fixture.Bench) error { return pipelinedOnly(b, fixture.Updated("a", version, email)) }
	}
	again := func(b *fixture.Bench) error { return settleAgain(b, "a") }
	tests := map[string]struct {
		before string // SQL
		first  event.Event
		second func(*fixture.Bench) error
		want   string // version, e-mail in the roll, e-mail in the target
	}{
		"a duplicate's user is none of the batch's business":      {"", six, update(5, "five"), "6|six|six"},
		"who settles again sees the roll as it is after the wait": {"", six, again, "6|six|six"},
		// The row is gone, so that an insert would find nothing in its way.
		"and brings back nobody who was deleted meanwhile": {"delete from p", fixture.Gone("a", 6), again, "6|∅|∅"},
		// That nothing changes is decided on the locked row, not before.
		"back to the old value": {"", fixture.Updated("a", 6, "two"), update(7, "five"), "7|five|five"},
		// A role's default of repeatable read would fail at every wait.
		"another isolation by default": {
			"do $$ begin execute format('alter database %I set default_transaction_isolation = ''repeatable read''', current_database()); end $$",
			six, update(7, "seven"), "7|seven|seven",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
			b.Applies(fixture.Applied, fixture.Updated("a", 5, "five"))
			b.Exec(tt.before)
			b.Pool.Reset() // a new session has the defaults of the database
			first := b.Begin(b.Work([]event.Event{tt.first}))
			must.Do(t, fixture.Beside(func() error { return tt.second(b) }, first.Commit))
			b.Want("select version, u.email, p.email from rollcall.users u left join p using (id)", tt.want)
			b.Want("select id from p", b.Rows("select id from rollcall.users where deleted_at is null")...)
		})
	}
}

// The removal of one who leaves is a statement after the lock, with a snapshot of its own.
func TestRaceSettlingAgainBesideALeaver(t *testing.T) {
	t.Parallel()
	staff := fixture.Everyone()
	staff.Where = &target.Expr{SQL: "new.email = 'stay'"}
	b := fixture.NewBench(t, fixture.PTable, staff)
	b.Applies(fixture.Applied, fixture.Updated("a", 5, "stay"))
	replica := pgtest.Connect(t, b.Address).Conn // one that does not know the target
	pgtest.Exec(t, replica, "begin; update rollcall.users set version = 6, email = 'leave'")
	must.Do(t, fixture.Beside(func() error { return settleAgain(b, "a") }, func() { pgtest.Exec(t, replica, "commit") }))
	b.Want("select email from p")
}

// A duplicate of an event that is in flight waits for it and does nothing.
func TestRaceDuplicateInFlight(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	first := fixture.Updated("a", 5, "first")
	inFlight := b.Begin(b.Work([]event.Event{first}))
	release := func() {
		pgtest.Exec(t, inFlight.Conn, "update rollcall.users set email = 'second'; update p set email = 'second'")
		inFlight.Commit()
	}
	must.Do(t, fixture.Beside(func() error { return pipelinedOnly(b, first) }, release))
	b.Want("select u.email, p.email from rollcall.users u join p using (id)", "second|second")
}

// A mutual swap can't be written row by row; both are parked, nothing is lost.
func TestRaceMutualSwapIsParked(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 3), fixture.Updated("a", 1, "x"), fixture.Updated("b", 1, "y"), fixture.Updated("c", 1, "z"))
	b.Applies([]event.Outcome{event.Parked, event.Parked, event.Applied}, fixture.Updated("a", 2, "y"), fixture.Updated("b", 2, "x"), fixture.Updated("c", 2, "zz"))
	b.Want("select id, email from rollcall.users order by 1", "a|y", "b|x", "c|zz")
	b.Want("select id, email from p order by 1", "a|x", "b|y", "c|zz")
	b.Want("select user_id, sqlstate from rollcall.parked order by 1", "a|23505", "b|23505")
}

// A chain of e-mails in one batch comes right whatever the order of the keys.
func TestRaceChainOfEmails(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 3), fixture.Updated("a", 1, "1"), fixture.Updated("b", 1, "2"), fixture.Updated("c", 1, "3"))
	b.Applies(fixture.All(event.Applied, 3), fixture.Updated("a", 2, "2"), fixture.Updated("b", 2, "3"), fixture.Updated("c", 2, "4"))
	b.Applies(fixture.All(event.Applied, 3), fixture.Updated("c", 3, "3"), fixture.Updated("b", 3, "2"), fixture.Updated("a", 3, "1"))
	b.Want("select id, email from p order by 1", "a|1", "b|2", "c|3")
	b.Want("select user_id from rollcall.parked")
}

// A deferrable constraint that is not the key takes a swap as it is.
func TestRaceSwapUnderADeferrableConstraint(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table p (id text primary key, email text unique deferrable, name text, role text)", fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "x"), fixture.Updated("b", 1, "y"))
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 2, "y"), fixture.Updated("b", 2, "x"))
	b.Want("select id, email from p order by 1", "a|y", "b|x")
}

// E-mails that cross in two batches deadlock; both batches come through.
func TestRaceCrossedEmails(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	for round := range 10 {
		name := func(s string) string { return fmt.Sprintf("%s%d", s, round) }
		batches := [][]event.Event{
			{fixture.Updated(name("a"), 1, name("x")), fixture.Updated(name("c"), 1, name("y"))},
			{fixture.Updated(name("b"), 1, name("y")), fixture.Updated(name("d"), 1, name("x"))},
		}
		var both sync.WaitGroup
		for _, events := range batches {
			both.Go(func() { applyBeside(b, events) })
		}
		both.Wait()
	}
	b.Want("select count(*) from rollcall.users", "40")
	b.Want(`select u.id from rollcall.users u where not exists (select from p where p.id = u.id and p.email = u.email)
		and not exists (select from rollcall.parked k where k.user_id = u.id)`)
	b.Want("select count(*) from p join rollcall.parked on user_id = id", "0")
}

// One who left and returns is whole again.
func TestRaceLeaveAndReturn(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.Where = &target.Expr{SQL: "new.username is null"}
	tgt.Set = fixture.Assign("id: new.id", "email: new.email", "name: null")
	tgt.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("name: 'left'")}
	b := fixture.NewBench(t, fixture.PTable, tgt)
	away := fixture.User("a", 2, "")
	away.Username = new("away")
	b.Applies(fixture.Applied, fixture.Updated("a", 1, ""))
	b.Applies(fixture.Applied, fixture.Said(away))
	b.Want("select email, name from p", "∅|left")
	b.Applies(fixture.Applied, fixture.Updated("a", 3, ""))
	b.Want("select email, name from p", "∅|∅")
}

// One user several times in a batch: a delete before a version, a version before
// the order of arrival.
func TestRaceOneUserSeveralTimesInABatch(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	again := fixture.Updated("a", 3, "again")
	again.ID = "again"
	b.Applies([]event.Outcome{event.Stale, event.Stale, event.Applied, event.Stale},
		fixture.Updated("a", 2, "two"), fixture.Updated("a", 3, "three"), again, fixture.Updated("a", 1, "one"))
	b.Want("select version, email from rollcall.users", "3|again")
	early, late := fixture.Gone("a", 4), fixture.Gone("a", 6)
	late.ID = "late"
	b.Applies([]event.Outcome{event.Stale, event.Applied, event.Stale}, late, early, fixture.Updated("a", 5, "five"))
	b.Want("select version, deleted_at is not null from rollcall.users", "4|t")
	b.Want("select * from p")
}

// What a duplicate overtook in its batch is not overtaken.
func TestRaceDuplicateIsNoWinner(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	old := fixture.Updated("a", 5, "old")
	b.Applies(fixture.Applied, old)
	fresh := fixture.Updated("a", 5, "fresh")
	fresh.ID = "fresh"
	b.Applies([]event.Outcome{event.Applied, event.Duplicate}, fresh, old)
	b.Want("select u.email, p.email from rollcall.users u join p using (id)", "fresh|fresh")
}

// A panic in the midst of a transaction leaves no lock and no broken connection behind.
func TestPanicInATransaction(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("user_a", 1, ""))
	for range 2 * connection.DefaultConnections {
		err := event.Safely(func() error {
			w := b.Work([]event.Event{fixture.Updated("user_a", 2, "")})
			w.Open[0].Read = func(rows pgx.Rows) error { rows.Next(); panic("a fault") }
			_, err := b.Commit(t.Context(), w)
			return err
		})
		if !errors.As(err, new(*event.PanicError)) {
			t.Fatalf("got %v", err)
		}
	}
	began := time.Now()
	b.Applies(fixture.Applied, fixture.Updated("user_a", 3, ""))
	must.True(t, time.Since(began) <= 5*time.Second, "the next batch took %s", time.Since(began))
	b.Want("select version::text from rollcall.users", "3")
	must.Equal(t, b.Pool.Stat().AcquiredConns(), 0, "connections that were not returned")
}

// Installing a capture stops waiting for the table when its context ends.
func TestCaptureHonoursItsContext(t *testing.T) {
	testtag.Parallel(t)
	b := fixture.NewBench(t, "create schema auth; create table auth.users (id uuid primary key)")
	b.Exec("begin; lock table auth.users")
	ctx, cancel := context.WithTimeout(t.Context(), 350*time.Millisecond) // within the first pause, from 100 to 600 ms
	defer cancel()
	began := time.Now()
	capture := outbox.Capture{Source: "supabase", Table: "auth.users"}
	must.Fail(t, b.DB.Outbox().Install(ctx, capture), context.DeadlineExceeded)
	must.Within(t, began, 550*time.Millisecond, "the end of waiting")
}
