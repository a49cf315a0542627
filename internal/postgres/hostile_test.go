package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

// raising is a trigger that raises a state for the e-mail "bad".
func raising(table, state string) string {
	return fmt.Sprintf(`create function raise_%[1]s() returns trigger language plpgsql as $$ begin
		if new.email = 'bad' then raise exception 'of %%', new.email using errcode = '%[2]s'; end if; return new; end $$;
		create trigger raise before insert or update on %[1]s for each row execute function raise_%[1]s();`, table, state)
}

// Whatever a target's trigger raises for one user, the others are settled, the other
// targets are current, and the roll has everybody.
func TestHostileTriggers(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"P0001", "MY001", "40001", "40P01", "08001", "25006", "26000", "53300", "57P01", "58030", "42P01", "0A000", "XX000", "55000"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			other := profiles()
			other.Name, other.Table = "other", "public.q"
			b := newBench(t, profilesTable+"create table q (like p including all);"+raising("p", state), profiles(), other)
			b.apply([]event.Outcome{event.Applied, event.Parked, event.Applied}, updated("a", 1, "a"), updated("b", 1, "bad"), updated("c", 1, "c"))
			b.wantRows("select id from p order by 1", "a", "c")
			b.wantRows("select id from q order by 1", "a", "b", "c")
			b.wantRows("select target, user_id, sqlstate from rollcall.parked", "profiles|b|"+state)
		})
	}
}

// plpgsql's "when others" leaves failed assertions out.
func TestFailedAssertion(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable+`create function strict() returns trigger language plpgsql as $$ begin assert new.email <> 'bad', new.email; return new; end $$;
		create trigger strict before insert on p for each row execute function strict()`, profiles())
	b.apply([]event.Outcome{event.Applied, event.Parked}, updated("a", 1, "a"), updated("b", 1, "bad"))
	b.wantRows("select user_id, sqlstate from rollcall.parked", "b|P0004")
}

// An expression may raise any class for what a client wrote, also one that looks as if
// the statement itself were wrong.
func TestHostileMetadata(t *testing.T) {
	t.Parallel()
	target := profiles()
	target.Set = append(target.Set, assign("role: to_tsquery('simple', new.raw_user_meta_data->>'q')")...)
	target.OnInsert = nil
	b := newBench(t, "create table p (id text primary key, email text, name text, role tsquery)", target)
	bad := user("b", 1, "b")
	bad.RawUserMetaData = `{"q":"Ann Smith"}`
	b.apply([]event.Outcome{event.Applied, event.Parked, event.Applied}, updated("a", 1, "a"), said(bad), updated("c", 1, "c"))
	b.wantRows("select user_id, sqlstate, error from rollcall.parked", `b|42601|syntax error in tsquery: "…"`)
}

// A condition that can't be computed for one user, beside the locked row of another.
func TestPoisonBesideALockedRow(t *testing.T) {
	t.Parallel()
	tgt := profiles()
	tgt.Where = &target.Expr{SQL: "(new.raw_user_meta_data->>'n')::int > 0"}
	b := newBench(t, profilesTable, tgt)
	with := func(id, n string, version int64) event.Event {
		u := user(id, version, id)
		u.RawUserMetaData = fmt.Sprintf(`{"n":%q}`, n)
		return said(u)
	}
	b.apply(all(event.Applied, 1), with("held", "1", 1))
	app := connect(t, b.url)
	execOn(t, app, "begin; update p set role = 'x'")
	held := with("held", "1", 2)
	name := "new name"
	held.User.FirstName = &name
	b.apply([]event.Outcome{event.Parked, event.Parked, event.Applied}, held, with("poison", "many", 1), with("well", "1", 1))
	b.wantRows("select user_id, sqlstate from rollcall.parked order by 1", "held|55P03", "poison|22P02")
	b.wantRows("select id from p order by 1", "held", "well")
}

// Two targets that refer to each other hold only at commit; a third one's poison must not
// park their users.
func TestDeferredCircleBesideAPoisonRow(t *testing.T) {
	t.Parallel()
	circle := func(name string) target.Target {
		return target.Target{Name: name, Table: "public." + name, From: fromApp, Key: []string{"id"}, Set: assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	}
	b := newBench(t, profilesTable+`create table x (id text primary key); create table y (id text primary key references x deferrable initially deferred);
		alter table x add foreign key (id) references y deferrable initially deferred; insert into p values ('app', 'bad')`, circle("x"), circle("y"), profiles())
	b.apply([]event.Outcome{event.Applied, event.Parked}, updated("a", 1, "a"), updated("b", 1, "bad"))
	b.wantRows("select target, user_id from rollcall.parked", "profiles|b")
	b.wantRows("select x.id from x join y using (id) order by 1", "a", "b")
	b.exec("create table orders (x text references x deferrable initially deferred); insert into orders values ('a')")
	b.apply(all(event.Parked, 1), gone("a", 2))
	b.wantRows("select sqlstate from rollcall.parked where user_id = 'a' and target <> 'profiles' group by 1", "23503")
	b.wantRows("select id from p", "app")
}

// A chain of e-mails through a whole batch takes bounded time; those that it leaves parked, the
// next try settles.
func TestLongChainOfEmails(t *testing.T) {
	testtag.Parallel(t)
	const users = 150
	b := newBench(t, profilesTable, profiles())
	step := func(version int64) []event.Event {
		var events []event.Event
		for n := range users {
			events = append(events, updated(fmt.Sprintf("u%03d", n), version, fmt.Sprint("mail", int64(n)+version)))
		}
		return events
	}
	b.apply(all(event.Applied, users), step(1)...)
	start := time.Now()
	outcomes, err := b.Apply(t.Context(), step(2))
	if err != nil || !slices.Contains(outcomes, event.Applied) {
		t.Fatalf("outcomes %v, error %v", outcomes, err)
	}
	t.Logf("a chain of %d took %s", users, time.Since(start))
	if took := time.Since(start); testtag.Timing && took > 4*time.Second {
		t.Errorf("a chain of %d took %s", users, took)
	}
}

// A cast to a domain over varchar(5) would cut; the base type lets the assignment refuse.
func TestDomainDoesNotCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create domain short as varchar(5); create table p (id text primary key, email short, name text, role text)", profiles())
	b.apply(all(event.Parked, 1), updated("a", 1, "abcdefghij"))
	b.wantRows("select sqlstate from rollcall.parked", "22001")
}

// What a variable stands for is not for the screen, nor for a finding.
func TestVariablesInExpressionsStayHidden(t *testing.T) {
	t.Parallel()
	tgt := profiles()
	tgt.Set[1].Expr.SQL, tgt.Set[1].Expr.Written = "'hunter2' || new.email", "'${PEPPER}' || new.email"
	b := newBench(t, profilesTable, tgt)
	if shown := strings.Join(b.Statements("profiles"), ""); strings.Contains(shown, "hunter2") || !strings.Contains(shown, "${PEPPER}") {
		t.Errorf("the statements show %s", shown)
	}
	b.apply(applied, updated("a", 1, "x"))
	b.wantRows("select email from p", "hunter2x")

	where := profiles()
	where.Where = &target.Expr{SQL: "new.email <> hunter2", Written: "new.email <> ${PEPPER}"}
	b = emptyBench(t, profilesTable, where)
	if found, err := b.Check(t.Context()); err != nil || len(found) == 0 || strings.Contains(fmt.Sprint(found), "hunter2") {
		t.Errorf("findings %v, error %v", found, err)
	}
	tgt.Set[1].Expr.SQL = "'hunter2'::uuid"
	b = emptyBench(t, profilesTable, tgt)
	found, err := b.Check(t.Context())
	if err != nil || len(found) == 0 || strings.Contains(fmt.Sprint(found), "hunter2") {
		t.Errorf("findings %v, error %v", found, err)
	}
}

// A deadlock that a trigger meets once blames nobody, also beside a poison row: the whole
// batch runs again.
func TestPassingErrorBesideAPoisonRow(t *testing.T) {
	t.Parallel()
	other := profiles()
	other.Name, other.Table = "other", "public.q"
	b := newBench(t, profilesTable+`create table q (like p including all, check (email <> 'bad')); create sequence met;
		create function once() returns trigger language plpgsql as $$ begin
			if nextval('met') = 2 then raise exception 'once' using errcode = '40P01'; end if; return new; end $$;
		create trigger once before insert on p for each row execute function once()`, profiles(), other)
	b.apply(all(event.Parked, 1), updated("a", 1, "bad"))
	b.wantRows("select target from rollcall.parked", "other")
	b.wantRows("select id from p", "a")
}

// A look at the targets that meets a lock leaves one that works in service.
func TestCheckBesideALock(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	app := connect(t, b.url)
	execOn(t, app, "begin; lock table p in access exclusive mode")
	if found, err := b.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("findings %v, error %v", found, err)
	}
	execOn(t, app, "rollback")
	b.apply(applied, updated("a", 1, "a"))
}
