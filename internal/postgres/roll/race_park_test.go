package roll_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

// An application that holds one row delays that user alone.
func TestRaceApplicationHoldsARow(t *testing.T) {
	testtag.Parallel(t)
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a1"), fixture.Updated("b", 1, "b1"))
	app := b.Hold("update p set role = 'admin' where id = 'a'")
	start := time.Now()
	b.Applies([]event.Outcome{event.Parked, event.Applied}, fixture.Updated("a", 2, "a2"), fixture.Updated("b", 2, "b2"))
	must.Within(t, start, 2*b.Pool.LockTimeout(), "a batch beside a held row")
	b.Want("select id, email from p order by 1", "a|a1", "b|b2")
	b.Want("select user_id, sqlstate from rollcall.parked", "a|55P03")
	app.Run("commit")
	b.Applies(fixture.Applied, fixture.Updated("a", 3, "a3"))
	b.Want("select id, email, role from p order by 1", "a|a3|admin", "b|b2|customer")
	b.Want("select user_id from rollcall.parked")
}

// A locked table parks its target's users and nobody else.
func TestRaceLockedTable(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	b.Pool.SetTimeouts(time.Second, 0)
	app := b.Hold("lock table p in access exclusive mode")
	start := time.Now()
	b.Applies(fixture.All(event.Parked, 2), fixture.Updated("a", 1, "a1"), fixture.Updated("b", 1, "b1"))
	// lock_timeout is waited for once
	must.Within(t, start, 2*b.Pool.LockTimeout(), "a batch beside a locked table")
	app.Run("rollback")
	b.Want("select (select count(*) from p), (select count(*) from q)", "0|2")
	b.Want("select target, count(*) from rollcall.parked group by 1", "profiles|2")
}

// Another session holds a row of the roll: the batch waits and is tried again, no user is parked.
func TestRaceTheRollIsBusy(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "one"))
	other := b.Hold("select from rollcall.users for update")
	release := func() {
		time.Sleep(b.Pool.LockTimeout() * 3 / 2) // the first try has failed
		other.Run("commit")
	}
	must.Do(t, fixture.Beside(applying(b, fixture.Updated("a", 2, "two")), release))
	b.Want("select email from p", "two")
	b.Want("select user_id from rollcall.parked")
}

// A trigger that sleeps runs into the statement's timeout; its target is parked, the
// other is current.
func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables+`
		create function sleep() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return new; end $$;
		create trigger sleep before insert on q for each row execute function sleep()`, fixture.Everyone(), fixture.Second())
	b.Pool.SetTimeouts(b.Pool.LockTimeout(), time.Second)
	b.Applies(fixture.All(event.Parked, 2), fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "b"))
	b.Want("select id from p order by 1", "a", "b")
	b.Want("select target, user_id, sqlstate from rollcall.parked order by 2", "second|a|57014", "second|b|57014")
}

// A target that is out of service, one that refuses a row, and one that another
// transaction holds, all in one batch.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	missing := fixture.Everyone()
	missing.Name, missing.Table = "missing", "public.nowhere"
	b := fixture.EmptyBench(t, fixture.BothTables+"insert into p values ('app', 'b')", fixture.Everyone(), missing, fixture.Second())
	must.Equal(t, len(must.Get(b.Check(t.Context()))(t)), 1, "findings")
	b.Exec("insert into q values ('c', 'old')")
	app := b.Hold("update q set role = 'x'")
	b.Applies(fixture.All(event.Parked, 3), fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "b"), fixture.Updated("c", 1, "c"))
	b.Want("select target, user_id, sqlstate from rollcall.parked order by 1, 2",
		"missing|a|42000", "missing|b|42000", "missing|c|42000", "profiles|b|23505", "second|c|55P03")
	b.Want("select id from p order by 1", "a", "app", "c")
	b.Want("select id, outcome from rollcall.events order by 1", "a-1|parked", "b-1|parked", "c-1|parked")
	app.Run("rollback")
	b.Want("select id, email from q order by 1", "a|a", "b|b", "c|old")
}

// A condition that is null is not met.
func TestRaceWhereIsNull(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.Where = &target.Expr{SQL: "new.email like '%@corp'"}
	b := fixture.NewBench(t, fixture.PTable, tgt)
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "a@corp"))
	b.Applies(fixture.Applied, fixture.Updated("a", 2, ""))
	b.Want("select id from p")
}

// The error often names no table; the park row does.
func TestRaceWhoseErrorItIs(t *testing.T) {
	t.Parallel()
	ids := target.Target{Name: "ids", Table: "public.ids", From: fixture.FromApp, Key: []string{"id"}, Set: fixture.Assign("id: new.id", "n: new.first_name"), OnDelete: target.OnDelete{Action: target.DeleteKeep}}
	b := fixture.NewBench(t, fixture.PTable+"create table ids (id text primary key, n integer)", fixture.Everyone(), ids)
	u := fixture.User("a", 1, "a@x")
	u.FirstName = new("secret-name")
	b.Applies([]event.Outcome{event.Parked, event.Applied}, fixture.Said(u), fixture.Updated("b", 1, "b@x"))
	b.Want("select id from p order by 1", "a", "b")
	b.Want("select id from ids", "b")
	b.Want("select target, user_id, error from rollcall.parked", `ids|a|column "n": invalid input syntax for type integer: "…"`)
}

// A stale event locks its user and no more: it
// settles nobody and clears nothing.
func TestRaceStaleEventClearsNothing(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("insert into p values ('app', 'x')")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 5, "x"))
	b.Exec("delete from p")
	b.Applies(fixture.All(event.Stale, 1), fixture.Updated("a", 4, "old"))
	b.Want("select user_id from rollcall.parked", "a")
	b.Want("select id from p")
	b.Applies(fixture.All(event.Duplicate, 1), fixture.Updated("a", 5, "x")) // which settles the user in a transaction of its own
	b.Want("select user_id from rollcall.parked")
	b.Want("select id, email from p", "a|x")
}

// The application is about to insert the same e-mail under another key.
func TestRaceApplicationInsertsTheSameEmail(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	app := b.Hold("insert into p values ('app', 'x')")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "x"))
	rollback := func() { app.Run("rollback") }
	must.Do(t, fixture.Beside(func() error { return pipelinedOnly(b, fixture.Updated("a", 2, "x")) }, rollback))
	b.Want("select id, email from p", "a|x")
	b.Want("select user_id from rollcall.parked")
}

// Beside a poison row the others are settled and their events say so: the roll's
// rows carry the transaction's own xid.
func TestRaceRollOutsideTheSavepoint(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("insert into p values ('app', 'x')")
	b.Applies([]event.Outcome{event.Applied, event.Parked, event.Applied}, fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "x"), fixture.Updated("c", 1, "c"))
	b.Want("select id from p order by 1", "a", "app", "c")
	b.Want("select id, outcome from rollcall.events order by 1", "a-1|applied", "b-1|parked", "c-1|applied")
}

// A row that the application has deleted comes back with the next change.
func TestRaceApplicationDeletesTheRow(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "x"))
	b.Exec("delete from p")
	b.Applies(fixture.Applied, fixture.Updated("a", 2, "x"))
	b.Want("select id, email from p", "a|x")
}

// Rows of the application that hang on a deleted user's row park the user by name.
func TestRaceApplicationRefersToADeletedUser(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable+"create table orders (n int, profile text references p)", fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "b"))
	app := b.Hold("insert into orders values (1, 'a')")
	b.Applies([]event.Outcome{event.Parked, event.Applied}, fixture.Gone("a", 2), fixture.Gone("b", 2))
	b.Want("select user_id, sqlstate from rollcall.parked", "a|55P03")
	app.Run("commit")
	b.Applies(fixture.All(event.Duplicate, 1), fixture.Gone("a", 2))
	b.Want("select user_id, sqlstate, attempts from rollcall.parked", "a|23503|1")
	b.Exec("delete from orders")
	b.Applies(fixture.All(event.Duplicate, 1), fixture.Gone("a", 2))
	b.Want("select id from p")
	b.Want("select user_id from rollcall.parked")
}

// What the roll itself can't hold is found and recorded; the batch goes on.
func TestRaceTheRollRefuses(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	bad := fixture.User("bad", 1, "b\x00d")
	b.Applies([]event.Outcome{event.Applied, event.UndecodableBody, event.Applied}, fixture.Updated("a", 1, "a"), fixture.Said(bad), fixture.Updated("c", 1, "c"))
	b.Want("select id, outcome from rollcall.events order by 1", "a-1|applied", "bad-1|undecodable", "c-1|applied")
	b.Want("select id from p order by 1", "a", "c")
}

// The order of locks is the same everywhere, so nobody waits in a circle.
func TestRaceNoDeadlocks(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table p (id text primary key, email text, name text, role text); create table q (like p including all)", fixture.Everyone(), fixture.Second())
	b.Pool.SetTimeouts(20*time.Second, 0) // PostgreSQL looks for deadlocks after a second
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for round := range 60 {
				var events []event.Event
				for _, n := range random.Perm(40) {
					e := fixture.Updated(fmt.Sprint("u", n), int64(random.IntN(50)), fmt.Sprint(worker, round))
					e.ID = fmt.Sprint(n, "-", round, "-", random.IntN(2)) // which other workers send, too
					events = append(events, e)
				}
				applyBeside(b, events)
			}
		})
	}
	workers.Wait()
	b.Want("select user_id from rollcall.parked")
	// PostgreSQL 14 reports a deadlock at once and has no such function.
	b.Exec("do $$ begin if current_setting('server_version_num')::int >= 150000 then perform pg_stat_force_next_flush(); end if; end $$")
	b.Want("select deadlocks from pg_stat_database where datname = current_database()", "0")
}

// A batch's events and users are locked in the order of their keys, whatever the order of
// arrival, and each once.
func TestBatchOrder(t *testing.T) {
	t.Parallel()
	events, users := roll.Order([]event.Event{fixture.Updated("c", 1, ""), fixture.Updated("a", 2, ""), fixture.Updated("b", 1, ""), fixture.Updated("a", 1, ""), fixture.Updated("c", 1, ""), fixture.Observed(fixture.Updated("d", 1, ""))})
	if got := fmt.Sprint(events, users); got != "[a-1 a-2 b-1 c-1] [a b c d]" {
		t.Errorf("got %s", got)
	}
}

// A connection that is cut is no user's fault, and the batch runs again.
func TestRaceConnectionCut(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "one"))
	holder := b.Hold("select from rollcall.users for update")
	cut := func() {
		b.Await("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'", "t")
		holder.Run("commit")
	}
	must.Do(t, fixture.Beside(applying(b, fixture.Updated("a", 2, "two")), cut))
	b.Want("select email from p", "two")
}

// A roll that is out of reach is nobody's fault: the batch is refused, nothing is parked.
func TestTheRollIsOutOfReach(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	b.Exec("alter table rollcall.users rename to elsewhere") // the roll itself is out of reach
	must.Fail(t, must.Err(b.Apply(ctx, []event.Event{fixture.Updated("a", 1, "a")})), event.ErrUnavailable)
	b.Exec("alter table rollcall.elsewhere rename to users")
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "a"))
}

// A plan that was made while the tables were empty must not grow with them: that is a
// first start followed by a first reconciliation.
func TestStalePlans(t *testing.T) {
	t.Parallel()
	where := fixture.Second()
	where.Where = &target.Expr{SQL: "new.email is not null"}
	b := fixture.NewBench(t, fixture.PTable+"create table q (like p including all); alter table q set (autovacuum_enabled = off); alter table p set (autovacuum_enabled = off)", fixture.Everyone(), where)
	b.Exec("alter table rollcall.users set (autovacuum_enabled = off); alter table rollcall.events set (autovacuum_enabled = off)")
	next := int64(0)
	batch := func() []event.Event {
		next++
		var events []event.Event
		for n := range 15 {
			events = append(events, fixture.Updated(fmt.Sprint("u", n), next, fmt.Sprint(n, "@", next)))
		}
		return append(events, fixture.Gone(fmt.Sprint("gone", next), 1))
	}
	stalePlans(t, func() { b.Applies(fixture.All(event.Applied, 16), batch()...) }, func() {
		b.Exec(`insert into rollcall.users (source, id, version, email, raw_user_meta_data, raw_app_meta_data) select 'app', 'x' || n, 1, n || '@y', '{}', '{}' from generate_series(1, 100000) n;
			insert into p select id, email from rollcall.users where id like 'x%'; insert into q select id, email from p where id like 'x%'`)
	})
}

// stalePlans compares a batch before and after the tables are filled.
func stalePlans(t *testing.T, batch, fill func()) {
	t.Helper()
	median := func() time.Duration {
		var took []time.Duration
		for range 21 {
			start := time.Now()
			batch()
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	empty := median() // every connection has made its generic plans by now
	fill()
	full := median()
	t.Logf("a batch of 16: %s with empty tables, %s with 100,000 users and the plans of before: ratio %.2f", empty, full, float64(full)/float64(empty))
	if testtag.Timing && full > 4*empty {
		t.Errorf("a batch of 16 takes %s with stale plans, %s before", full, empty)
	}
}

// The same of looks at a table of users: at 14 who change, one who is deleted and one who is unknown.
func TestStalePlansOfSignals(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.Exec("alter table rollcall.users set (autovacuum_enabled = off); alter table auth.users set (autovacuum_enabled = off); alter table p set (autovacuum_enabled = off)")
	b.Exec("insert into auth.users (id, email) select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'start' from generate_series(1, 14) n")
	next := 0
	batch := func() {
		next++
		b.Exec(fmt.Sprintf("update auth.users set email = %d || '@' || id where id between '00000000-0000-4000-8000-000000000001' and '00000000-0000-4000-8000-000000000014'", next))
		insertUsers(b, 1)
		signal(b, event.Applied, append(looksFrom(1, 14), lookAt(1))...)
		b.Exec("delete from auth.users where id = '" + userID(1) + "'")
		signal(b, event.Applied, event.Event{Source: "app", Op: event.Delete, UserID: userID(1)})
		signal(b, event.Stale, lookAt(2))
	}
	stalePlans(t, batch, func() {
		b.Exec(`insert into auth.users (id, email) select gen_random_uuid(), n || '@y' from generate_series(1, 100000) n;
			insert into rollcall.users (source, id, version, email, raw_user_meta_data, raw_app_meta_data) select 'app', id::text, 1, email, '{}', '{}' from auth.users where email like '%@y';
			insert into p (id, email) select id, email from auth.users where email like '%@y'`)
	})
}
