package roll_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

// Whatever a target's trigger raises for one user, the others are settled, the other
// targets are current, and the roll has all users.
func TestHostileTriggers(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"P0001", "MY001", "40001", "40P01", "08001", "25006", "26000", "53300", "57P01", "58030", "42P01", "0A000", "XX000", "55000"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.BothTables+fixture.Raising("p", state), fixture.Everyone(), fixture.Second())
			b.Applies([]event.Outcome{event.Applied, event.Parked, event.Applied}, fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "bad"), fixture.Updated("c", 1, "c"))
			b.Want("select id from p order by 1", "a", "c")
			b.Want("select id from q order by 1", "a", "b", "c")
			b.Want("select target, user_id, sqlstate from rollcall.parked", "profiles|b|"+state)
		})
	}
}

// plpgsql's "when others" leaves failed assertions out.
func TestFailedAssertion(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable+`create function strict() returns trigger language plpgsql as $$ begin assert new.email <> 'bad', new.email; return new; end $$;
		create trigger strict before insert on p for each row execute function strict()`, fixture.Everyone())
	b.Applies([]event.Outcome{event.Applied, event.Parked}, fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "bad"))
	b.Want("select user_id, sqlstate from rollcall.parked", "b|P0004")
}

// An expression may raise any class for what a client wrote, also one that looks as if
// the statement itself were wrong.
func TestHostileMetadata(t *testing.T) {
	t.Parallel()
	target := fixture.Everyone()
	target.Set = append(target.Set, fixture.Assign("role: to_tsquery('simple', new.raw_user_meta_data->>'q')")...)
	target.OnInsert = nil
	b := fixture.NewBench(t, "create table p (id text primary key, email text, name text, role tsquery)", target)
	bad := fixture.User("b", 1, "b")
	bad.RawUserMetaData = `{"q":"Ann Smith"}`
	b.Applies([]event.Outcome{event.Applied, event.Parked, event.Applied}, fixture.Updated("a", 1, "a"), fixture.Said(bad), fixture.Updated("c", 1, "c"))
	b.Want("select user_id, sqlstate, error from rollcall.parked", `b|42601|syntax error in tsquery: "…"`)
}

// A condition that can't be computed for one user, beside the locked row of another.
func TestPoisonBesideALockedRow(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.Where = &target.Expr{SQL: "(new.raw_user_meta_data->>'n')::int > 0"}
	b := fixture.NewBench(t, fixture.PTable, tgt)
	with := func(id, n string, version int64) event.Event {
		u := fixture.User(id, version, id)
		u.RawUserMetaData = fmt.Sprintf(`{"n":%q}`, n)
		return fixture.Said(u)
	}
	b.Applies(fixture.All(event.Applied, 1), with("held", "1", 1))
	b.Hold("update p set role = 'x'")
	held := with("held", "1", 2)
	held.User.FirstName = new("new name")
	b.Applies([]event.Outcome{event.Parked, event.Parked, event.Applied}, held, with("poison", "many", 1), with("well", "1", 1))
	b.Want("select user_id, sqlstate from rollcall.parked order by 1", "held|55P03", "poison|22P02")
	b.Want("select id from p order by 1", "held", "well")
}

// Two targets that refer to each other hold only at commit; a third one's poison must not
// park their users.
func TestDeferredCircleBesideAPoisonRow(t *testing.T) {
	t.Parallel()
	circle := func(name string) target.Target {
		return target.Target{Name: name, Table: "public." + name, From: fixture.FromApp, Key: []string{"id"}, Set: fixture.Assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	}
	b := fixture.NewBench(t, fixture.PTable+`create table x (id text primary key); create table y (id text primary key references x deferrable initially deferred);
		alter table x add foreign key (id) references y deferrable initially deferred; insert into p values ('app', 'bad')`, circle("x"), circle("y"), fixture.Everyone())
	b.Applies([]event.Outcome{event.Applied, event.Parked}, fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "bad"))
	b.Want("select target, user_id from rollcall.parked", "profiles|b")
	b.Want("select x.id from x join y using (id) order by 1", "a", "b")
	b.Exec("create table orders (x text references x deferrable initially deferred); insert into orders values ('a')")
	b.Applies(fixture.All(event.Parked, 1), fixture.Gone("a", 2))
	b.Want("select sqlstate from rollcall.parked where user_id = 'a' and target <> 'profiles' group by 1", "23503")
	b.Want("select id from p", "app")
}

// A chain of e-mails through a whole batch takes bounded time; those that it leaves parked, the
// next try settles.
func TestLongChainOfEmails(t *testing.T) {
	testtag.Parallel(t)
	const users = 150
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	step := func(version int64) []event.Event {
		var events []event.Event
		for n := range users {
			events = append(events, fixture.Updated(fmt.Sprintf("u%03d", n), version, fmt.Sprint("mail", int64(n)+version)))
		}
		return events
	}
	b.Applies(fixture.All(event.Applied, users), step(1)...)
	start := time.Now()
	outcomes := must.Get(b.Apply(t.Context(), step(2)))(t)
	must.True(t, slices.Contains(outcomes, event.Applied), "outcomes %v", outcomes)
	t.Logf("a chain of %d took %s", users, time.Since(start))
	must.Within(t, start, 4*time.Second, "a chain")
}

// A cast to a domain over varchar(5) would cut; the base type lets the assignment refuse.
func TestDomainDoesNotCut(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create domain short as varchar(5); create table p (id text primary key, email short, name text, role text)", fixture.Everyone())
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "abcdefghij"))
	b.Want("select sqlstate from rollcall.parked", "22001")
}

// What a variable stands for is not for the screen, nor for a finding.
func TestVariablesInExpressionsStayHidden(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.Set[1].Expr.SQL, tgt.Set[1].Expr.Written = "'hunter2' || new.email", "'${PEPPER}' || new.email"
	b := fixture.NewBench(t, fixture.PTable, tgt)
	shown := strings.Join(b.Statements("profiles"), "")
	must.Contain(t, shown, "${PEPPER}")
	must.Lack(t, shown, "hunter2")
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "x"))
	b.Want("select email from p", "hunter2x")

	where := fixture.Everyone()
	where.Where = &target.Expr{SQL: "new.email <> hunter2", Written: "new.email <> ${PEPPER}"}
	tgt.Set[1].Expr.SQL = "'hunter2'::uuid"
	for _, wrong := range []target.Target{where, tgt} {
		found := must.Get(fixture.EmptyBench(t, fixture.PTable, wrong).Check(t.Context()))(t)
		must.True(t, len(found) > 0, "no finding")
		must.Lack(t, fmt.Sprint(found), "hunter2")
	}
}

// A deadlock that a trigger meets once is no user's fault, also beside a poison row: the whole
// batch runs again.
func TestPassingErrorBesideAPoisonRow(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable+`create table q (like p including all, check (email <> 'bad')); create sequence met;
		create function once() returns trigger language plpgsql as $$ begin
			if nextval('met') = 2 then raise exception 'once' using errcode = '40P01'; end if; return new; end $$;
		create trigger once before insert on p for each row execute function once()`, fixture.Everyone(), fixture.Second())
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "bad"))
	b.Want("select target from rollcall.parked", "second")
	b.Want("select id from p", "a")
}

// A look at the targets that meets a lock leaves one that works in service.
func TestCheckBesideALock(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	app := b.Hold("lock table p in access exclusive mode")
	must.Equal(t, must.Get(b.Check(t.Context()))(t), nil, "findings")
	app.Run("rollback")
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "a"))
}
