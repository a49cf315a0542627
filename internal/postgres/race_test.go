package postgres

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/target"
)

// paused is a transaction of Rollcall's own statements, stopped halfway.
type paused struct {
	b     *bench
	conn  *pgx.Conn
	steps []step
	done  result
}

// begin runs a transaction up to its commit and stops there, all locks held.
func (b *bench) begin(w *work) *paused {
	b.t.Helper()
	conn := connect(b.t, b.url)
	must.Do(b.t, b.pool.Config().AfterConnect(b.t.Context(), conn))
	p := &paused{b: b, conn: conn, steps: b.steps(w, *b.targets.Load())}
	p.run(len(p.steps) - 1)
	return p
}

func (p *paused) run(n int) {
	p.b.t.Helper()
	must.Do(p.b.t, run(p.b.t.Context(), p.conn, p.steps[:n], &p.done))
	p.steps = p.steps[n:]
}

func (p *paused) commit() { p.run(1) }

// beside runs do while something else holds locks, gives it time to reach them, lets go,
// and returns do's error.
func beside(do func() error, release func()) error {
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	time.Sleep(100 * time.Millisecond)
	release()
	return <-ended
}

// pipelinedOnly commits a batch by the fast path; it has no other way to succeed.
func (b *bench) pipelinedOnly(events ...event.Event) error {
	return b.fast(b.rollWork(newBatch(users, events)))
}

func (b *bench) fast(w *work) error {
	conn, err := b.pool.Acquire(b.t.Context())
	if err != nil {
		return err
	}
	defer conn.Release()
	defer leave(conn.Conn())
	return run(b.t.Context(), conn.Conn(), b.steps(w, *b.targets.Load()), &result{})
}

func (b *bench) settleAgain(id string) error {
	w := repairWork(&batch{roll: users, events: []event.Event{updated(id, 0, "")}}, &result{}, all(event.Duplicate, 1))
	return b.fast(w)
}

// An e-mail passes from a deleted user to the next one within a batch.
func TestRaceEmailOfADeletedUserInOneBatch(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(applied, updated("a", 1, "x"))
	if err := b.pipelinedOnly(gone("a", 2), updated("b", 1, "x")); err != nil {
		t.Error(err)
	}
	b.wantRows("select id, email from p", "b|x")
}

// A duplicate's user is none of the batch's business.
func TestRaceDuplicateDoesNotOverwriteANewerState(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(applied, updated("a", 5, "five"))
	newer := b.begin(b.rollWork(newBatch(users, []event.Event{updated("a", 6, "six")})))
	if err := beside(func() error { return b.pipelinedOnly(updated("a", 5, "five")) }, newer.commit); err != nil {
		t.Error(err)
	}
	b.wantRows("select email from p", "six")
}

// Who settles again waits for the roll and then sees it as it is.
func TestRaceSettlingAgainSeesTheNewestState(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(applied, updated("a", 5, "five"))
	newer := b.begin(b.rollWork(newBatch(users, []event.Event{updated("a", 6, "six")})))
	if err := beside(func() error { return b.settleAgain("a") }, newer.commit); err != nil {
		t.Error(err)
	}
	b.wantRows("select email from p", "six")
}

// And brings back nobody who was deleted meanwhile.
func TestRaceSettlingAgainBesideADelete(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(applied, updated("a", 5, "five"))
	b.exec("delete from p") // so that the insert would find nothing in its way
	dead := b.begin(b.rollWork(newBatch(users, []event.Event{gone("a", 6)})))
	if err := beside(func() error { return b.settleAgain("a") }, dead.commit); err != nil {
		t.Error(err)
	}
	b.wantRows("select email from p")
}

// The removal of one who leaves is a statement after the lock, with a snapshot of its own.
func TestRaceSettlingAgainBesideALeaver(t *testing.T) {
	t.Parallel()
	staff := profiles()
	staff.Where = &target.Expr{SQL: "new.email = 'stay'"}
	b := newBench(t, profilesTable, staff)
	b.apply(applied, updated("a", 5, "stay"))
	replica := connect(t, b.url) // one that does not know the target
	execOn(t, replica, "begin; update rollcall.users set version = 6, email = 'leave'")
	if err := beside(func() error { return b.settleAgain("a") }, func() { execOn(t, replica, "commit") }); err != nil {
		t.Error(err)
	}
	b.wantRows("select email from p")
}

// That nothing changes is decided on the locked row, not before.
func TestRaceBackToTheOldValue(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(applied, updated("a", 5, "one"))
	other := b.begin(b.rollWork(newBatch(users, []event.Event{updated("a", 6, "two")})))
	if err := beside(func() error { return b.pipelinedOnly(updated("a", 7, "one")) }, other.commit); err != nil {
		t.Error(err)
	}
	b.wantRows("select version, u.email, p.email from rollcall.users u join p using (id)", "7|one|one")
}

// A duplicate of an event that is in flight waits for it and does nothing.
func TestRaceDuplicateInFlight(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	first := updated("a", 5, "first")
	inFlight := b.begin(b.rollWork(newBatch(users, []event.Event{first})))
	release := func() {
		execOn(t, inFlight.conn, "update rollcall.users set email = 'second'; update p set email = 'second'")
		inFlight.commit()
	}
	if err := beside(func() error { return b.pipelinedOnly(first) }, release); err != nil {
		t.Error(err)
	}
	b.wantRows("select u.email, p.email from rollcall.users u join p using (id)", "second|second")
}

// A mutual swap can't be written row by row; both are parked, nothing is lost.
func TestRaceMutualSwapIsParked(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(all(event.Applied, 3), updated("a", 1, "x"), updated("b", 1, "y"), updated("c", 1, "z"))
	b.apply([]event.Outcome{event.Parked, event.Parked, event.Applied}, updated("a", 2, "y"), updated("b", 2, "x"), updated("c", 2, "zz"))
	b.wantRows("select id, email from rollcall.users order by 1", "a|y", "b|x", "c|zz")
	b.wantRows("select id, email from p order by 1", "a|x", "b|y", "c|zz")
	b.wantRows("select user_id, sqlstate from rollcall.parked order by 1", "a|23505", "b|23505")
}

// A chain of e-mails in one batch comes right whatever the order of the keys.
func TestRaceChainOfEmails(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(all(event.Applied, 3), updated("a", 1, "1"), updated("b", 1, "2"), updated("c", 1, "3"))
	b.apply(all(event.Applied, 3), updated("a", 2, "2"), updated("b", 2, "3"), updated("c", 2, "4"))
	b.apply(all(event.Applied, 3), updated("c", 3, "3"), updated("b", 3, "2"), updated("a", 3, "1"))
	b.wantRows("select id, email from p order by 1", "a|1", "b|2", "c|3")
	b.wantRows("select user_id from rollcall.parked")
}

// A deferrable constraint that is not the key takes a swap as it is.
func TestRaceSwapUnderADeferrableConstraint(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create table p (id text primary key, email text unique deferrable, name text, role text)", profiles())
	b.apply(all(event.Applied, 2), updated("a", 1, "x"), updated("b", 1, "y"))
	b.apply(all(event.Applied, 2), updated("a", 2, "y"), updated("b", 2, "x"))
	b.wantRows("select id, email from p order by 1", "a|y", "b|x")
}

// E-mails that cross in two batches deadlock; both batches come through.
func TestRaceCrossedEmails(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	for round := range 10 {
		name := func(s string) string { return fmt.Sprintf("%s%d", s, round) }
		batches := [][]event.Event{
			{updated(name("a"), 1, name("x")), updated(name("c"), 1, name("y"))},
			{updated(name("b"), 1, name("y")), updated(name("d"), 1, name("x"))},
		}
		var both sync.WaitGroup
		for _, events := range batches {
			both.Go(func() {
				if _, err := b.Apply(t.Context(), events); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	b.wantRows("select count(*) from rollcall.users", "40")
	b.wantRows(`select u.id from rollcall.users u where not exists (select from p where p.id = u.id and p.email = u.email)
		and not exists (select from rollcall.parked k where k.user_id = u.id)`)
	b.wantRows("select count(*) from p join rollcall.parked on user_id = id", "0")
}

// One who left and returns is whole again.
func TestRaceLeaveAndReturn(t *testing.T) {
	t.Parallel()
	tgt := profiles()
	tgt.Where = &target.Expr{SQL: "new.username is null"}
	tgt.Set = assign("id: new.id", "email: new.email", "name: null")
	tgt.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: assign("name: 'left'")}
	b := newBench(t, profilesTable, tgt)
	away := user("a", 2, "")
	away.Username = ptr("away")
	b.apply(applied, updated("a", 1, ""))
	b.apply(applied, said(away))
	b.wantRows("select email, name from p", "∅|left")
	b.apply(applied, updated("a", 3, ""))
	b.wantRows("select email, name from p", "∅|∅")
}

// A role's default of repeatable read would fail at every wait.
func TestRaceDefaultIsolation(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.exec("do $$ begin execute format('alter database %I set default_transaction_isolation = ''repeatable read''', current_database()); end $$")
	b.pool.Reset()
	b.apply(applied, updated("a", 5, "five"))
	other := b.begin(b.rollWork(newBatch(users, []event.Event{updated("a", 6, "six")})))
	if err := beside(func() error { return b.pipelinedOnly(updated("a", 7, "seven")) }, other.commit); err != nil {
		t.Error(err)
	}
	b.wantRows("select email from p", "seven")
}

// One user several times in a batch: a delete before a version, a version before
// the order of arrival.
func TestRaceOneUserSeveralTimesInABatch(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	again := updated("a", 3, "again")
	again.ID = "again"
	b.apply([]event.Outcome{event.Stale, event.Stale, event.Applied, event.Stale},
		updated("a", 2, "two"), updated("a", 3, "three"), again, updated("a", 1, "one"))
	b.wantRows("select version, email from rollcall.users", "3|again")
	early, late := gone("a", 4), gone("a", 6)
	late.ID = "late"
	b.apply([]event.Outcome{event.Stale, event.Applied, event.Stale}, late, early, updated("a", 5, "five"))
	b.wantRows("select version, deleted_at is not null from rollcall.users", "4|t")
	b.wantRows("select * from p")
}

// What a duplicate overtook in its batch is not overtaken.
func TestRaceDuplicateIsNoWinner(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	old := updated("a", 5, "old")
	b.apply(applied, old)
	fresh := updated("a", 5, "fresh")
	fresh.ID = "fresh"
	b.apply([]event.Outcome{event.Applied, event.Duplicate}, fresh, old)
	b.wantRows("select u.email, p.email from rollcall.users u join p using (id)", "fresh|fresh")
}
