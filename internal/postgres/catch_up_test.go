package postgres

import (
	"fmt"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/testtag"
)

// catchUp makes everybody due and tries once.
func (b *bench) catchUp(target string) int {
	b.t.Helper()
	b.exec("update rollcall.parked set retry_at = now() where not given_up")
	n := must.Get(b.CatchUp(b.t.Context(), target))(b.t)
	return n
}

// Users who swap their e-mail addresses, two or in a circle, settle; one whose address another user
// really has stays parked with what they had, and no other user loses anything for it.
func TestCatchUpExchanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(all(event.Applied, 6), updated("a", 1, "1"), updated("b", 1, "2"), updated("c", 1, "3"), updated("d", 1, "4"), updated("e", 1, "5"), updated("f", 1, "6"))
	b.exec("insert into p (id, email) values ('stranger', '7')")
	b.apply(all(event.Parked, 6), updated("a", 2, "2"), updated("b", 2, "1"), updated("c", 2, "4"), updated("d", 2, "5"), updated("e", 2, "3"), updated("f", 2, "7"))
	b.catchUp("profiles")
	b.wantRows("select id, email from p order by 1", "a|2", "b|1", "c|4", "d|5", "e|3", "f|6", "stranger|7")
	b.wantRows("select user_id, attempts from rollcall.parked", "f|2")
	b.exec("delete from p where id = 'stranger'")
	b.catchUp("profiles")
	b.wantRows("select email from p where id = 'f'", "7")
	b.wantRows("select user_id from rollcall.parked")
}

// While one replica settles the parked users, another leaves them alone.
func TestCatchUpTakesTurns(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.exec("insert into p (id, email) values ('stranger', 'x')")
	b.apply(all(event.Parked, 1), updated("a", 1, "x"))
	b.exec("delete from p where id = 'stranger'")
	b.exec("update rollcall.parked set retry_at = now()")
	b.exec(fmt.Sprintf("begin; select pg_advisory_xact_lock(%d, %d)", connection.LockSpace, connection.Hash32("catch up profiles")))
	if n, err := b.CatchUp(t.Context(), "profiles"); n != 0 || err != nil {
		t.Errorf("%d users tried, error %v, while another replica is at it", n, err)
	}
	b.exec("commit")
	if n := b.catchUp("profiles"); n != 1 {
		t.Errorf("%d users tried afterwards, want 1", n)
	}
	b.wantRows("select id, email from p", "a|x")
}

// A user that an operator has erased from the roll can't be settled: they are forgotten, and not tried
// for ever.
func TestCatchUpForgetsTheErased(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.exec("insert into p (id, email) values ('stranger', 'x')")
	b.apply(all(event.Parked, 2), updated("a", 1, "x"), updated("b", 1, "x"))
	b.exec("delete from rollcall.users where id = 'a'")
	if n := b.catchUp("profiles"); n != 2 {
		t.Errorf("%d users tried, want each once", n)
	}
	b.wantRows("select user_id, attempts from rollcall.parked", "b|2")
}

// The pauses grow, until the user is given up; a new event begins anew.
func TestCatchUpGivesUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.config.Attempts = 7
	b.exec("insert into p (id, email) values ('stranger', 'x')")
	b.apply(all(event.Parked, 1), updated("a", 1, "x"))
	var pauses []int
	for n := 1; ; n++ {
		var pause float64
		var givenUp bool
		must.Do(t, b.sql.QueryRow(t.Context(), "select round(extract(epoch from retry_at - now())), given_up from rollcall.parked").Scan(&pause, &givenUp))
		if givenUp {
			break
		}
		pauses = append(pauses, int(pause))
		if b.catchUp("profiles") != 1 {
			t.Fatal("nobody was tried")
		}
	}
	if got := fmt.Sprint(pauses); got != "[2 5 15 60 300 3600]" {
		t.Errorf("pauses of %s seconds", got)
	}
	if n := b.catchUp("profiles"); n != 0 {
		t.Errorf("%d users who were given up were tried", n)
	}
	b.apply(all(event.Parked, 1), updated("a", 2, "x"))
	b.wantRows("select attempts, given_up from rollcall.parked", "1|f")
	b.apply(applied, updated("a", 3, "y"))
	b.wantRows("select count(*) from rollcall.parked", "0")
}

// No user is tried too early, and none that the parent's table still lacks.
func TestCatchUpInOrder(t *testing.T) {
	t.Parallel()
	child := profiles()
	child.Name, child.Table = "a_child", "public.c" // by name it would come first
	child.Set = assign("id: new.id")
	child.OnInsert = nil
	b := newBench(t, profilesTable+"create table c (id text primary key references p);", profiles(), child)
	b.exec("insert into p (id, email) values ('stranger', 'x')")
	b.apply(all(event.Parked, 1), updated("a", 1, "x"))
	b.wantRows("select target from rollcall.parked order by 1", "a_child", "profiles")
	if n, err := b.CatchUp(t.Context(), "profiles"); n != 0 || err != nil {
		t.Errorf("%d users were tried before their time: %v", n, err)
	}
	if n := b.catchUp("a_child"); n != 0 {
		t.Errorf("%d users were tried that the parent's table lacks", n)
	}
	b.exec("delete from p")
	b.catchUp("profiles")
	b.catchUp("a_child")
	b.wantRows("select id from c", "a")
	b.wantRows("select target from rollcall.parked")
}

// A removal that the application's own rows forbid waits long.
func TestCatchUpLeavesTimeToTheApplication(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable+"create table orders (who text references p);", profiles())
	b.apply(applied, updated("a", 1, "a@x"))
	b.exec("insert into orders values ('a')")
	b.apply(all(event.Parked, 1), gone("a", 2))
	b.wantRows("select sqlstate, retry_at > now() + interval '4 minutes' from rollcall.parked", "23503|t")
	b.exec("delete from orders")
	b.catchUp("profiles")
	b.wantRows("select id from p")
}

// Catching up waits for no row: a live event of a parked user beside a held row, or beside a
// held table, is answered at once.
func TestLiveEventsBesideCatchingUp(t *testing.T) {
	testtag.Parallel(t)
	b := newBench(t, bothTables, profiles(), second())
	b.exec("create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$; create trigger refuse before insert on q for each row execute function refuse()")
	var events []event.Event
	for n := range 200 {
		events = append(events, updated(fmt.Sprint("u", n), 1, ""))
	}
	b.apply(all(event.Parked, 200), events...)
	b.exec("drop trigger refuse on q")
	holder := connect(t, b.url)
	execOn(t, holder, "begin; lock table q in access exclusive mode")
	b.exec("update rollcall.parked set retry_at = now()")
	ended := make(chan error, 1)
	go func() {
		_, err := b.CatchUp(t.Context(), "second")
		ended <- err
	}()
	for len(b.outages()) == 0 && t.Context().Err() == nil { // it notices at once, and waits for nobody
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	if _, err := b.Apply(t.Context(), []event.Event{updated("u7", 2, "")}); err != nil {
		t.Error(err)
	}
	live := time.Since(start)
	t.Logf("a live event of a parked user took %s", live)
	if testtag.Timing && live > 100*time.Millisecond {
		t.Errorf("a live event of a parked user took %s", live)
	}
	execOn(t, holder, "rollback")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b.recover(t)
	b.wantRows("select count(*) from q", "200")
}

// Many parked users are settled in seconds, from the roll as it is now.
func TestCatchUpOfMany(t *testing.T) {
	testtag.Parallel(t)
	const n = 100_000
	b := newBench(t, bothTables, profiles(), second())
	b.exec(fmt.Sprintf(`insert into rollcall.users (source, id, version, email, raw_user_meta_data, raw_app_meta_data) select 'app', 'u' || g, 1, g || '@x', '{}', '{}' from generate_series(1, %d) g;
insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) select 'second', source, id, now(), '42P01', 'gone' from rollcall.users`, n))
	start := time.Now()
	tried, err := b.CatchUp(t.Context(), "second")
	took := time.Since(start)
	if err != nil || tried != n {
		t.Errorf("%d tried, %v", tried, err)
	}
	b.wantRows("select count(*) from q", fmt.Sprint(n))
	b.wantRows("select count(*) from rollcall.parked", "0")
	t.Logf("%d parked users in %s", n, took)
	if testtag.Timing && took > 30*time.Second {
		t.Errorf("%d parked users took %s", n, took)
	}
}
