package parked_test

import (
	"fmt"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/testtag"
)

// Users who swap their e-mail addresses, two or in a circle, settle; one whose address another user
// really has stays parked with what they had, and no other user loses anything for it.
func TestCatchUpExchanges(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 6), fixture.Updated("a", 1, "1"), fixture.Updated("b", 1, "2"), fixture.Updated("c", 1, "3"), fixture.Updated("d", 1, "4"), fixture.Updated("e", 1, "5"), fixture.Updated("f", 1, "6"))
	b.Exec("insert into p (id, email) values ('stranger', '7')")
	b.Applies(fixture.All(event.Parked, 6), fixture.Updated("a", 2, "2"), fixture.Updated("b", 2, "1"), fixture.Updated("c", 2, "4"), fixture.Updated("d", 2, "5"), fixture.Updated("e", 2, "3"), fixture.Updated("f", 2, "7"))
	b.CatchUp("profiles")
	b.Want("select id, email from p order by 1", "a|2", "b|1", "c|4", "d|5", "e|3", "f|6", "stranger|7")
	b.Want("select user_id, attempts from rollcall.parked", "f|2")
	b.Exec("delete from p where id = 'stranger'")
	b.CatchUp("profiles")
	b.Want("select email from p where id = 'f'", "7")
	b.Want("select user_id from rollcall.parked")
}

// While one replica settles the parked users, another leaves them alone.
func TestCatchUpTakesTurns(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("insert into p (id, email) values ('stranger', 'x')")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "x"))
	b.Exec("delete from p where id = 'stranger'")
	b.Exec("update rollcall.parked set retry_at = now()")
	b.Exec(fmt.Sprintf("begin; select pg_advisory_xact_lock(%d, %d)", connection.LockSpace, connection.Hash32("catch up profiles")))
	must.Equal(t, must.Get(b.Parked.CatchUp(t.Context(), "profiles"))(t), 0, "users tried while another replica is at it")
	b.Exec("commit")
	must.Equal(t, b.CatchUp("profiles"), 1, "users tried afterwards")
	b.Want("select id, email from p", "a|x")
}

// A user that an operator has erased from the roll can't be settled: they are forgotten, and not tried
// for ever.
func TestCatchUpForgetsTheErased(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("insert into p (id, email) values ('stranger', 'x')")
	b.Applies(fixture.All(event.Parked, 2), fixture.Updated("a", 1, "x"), fixture.Updated("b", 1, "x"))
	b.Exec("delete from rollcall.users where id = 'a'")
	must.Equal(t, b.CatchUp("profiles"), 2, "users tried, each once")
	b.Want("select user_id, attempts from rollcall.parked", "b|2")
}

// The pauses grow, until the user is given up; a new event begins anew.
func TestCatchUpGivesUp(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Attempts.Store(7)
	b.Exec("insert into p (id, email) values ('stranger', 'x')")
	try := func() { b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "x")) }
	for _, want := range []float64{2, 5, 15, 60, 300, 3600} {
		var before time.Time
		var most, least float64 // from before the try, and from after it
		var givenUp bool
		must.Do(t, b.SQL.QueryRow(t.Context(), "select clock_timestamp()").Scan(&before))
		try()
		must.Do(t, b.SQL.QueryRow(t.Context(), `select extract(epoch from retry_at - $1), extract(epoch from retry_at - clock_timestamp()),
			given_up from rollcall.parked`, before).Scan(&most, &least, &givenUp))
		if givenUp || want < least || want > most {
			t.Errorf("a pause of %v to %v s, given up: %v, want %v s", least, most, givenUp, want)
		}
		try = func() { must.Equal(t, b.CatchUp("profiles"), 1, "users tried") }
	}
	try()
	b.Want("select attempts, given_up from rollcall.parked", "7|t")
	must.Equal(t, b.CatchUp("profiles"), 0, "users tried who were given up")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 2, "x"))
	b.Want("select attempts, given_up from rollcall.parked", "1|f")
	b.Applies(fixture.Applied, fixture.Updated("a", 3, "y"))
	b.Want("select count(*) from rollcall.parked", "0")
}

// No user is tried too early, and none that the parent's table still lacks.
func TestCatchUpInOrder(t *testing.T) {
	t.Parallel()
	child := fixture.Everyone()
	child.Name, child.Table = "a_child", "public.c" // by name it would come first
	child.Set = fixture.Assign("id: new.id")
	child.OnInsert = nil
	b := fixture.NewBench(t, fixture.PTable+"create table c (id text primary key references p);", fixture.Everyone(), child)
	b.Exec("insert into p (id, email) values ('stranger', 'x')")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "x"))
	b.Want("select target from rollcall.parked order by 1", "a_child", "profiles")
	b.Exec("update rollcall.parked set retry_at = now() + interval '1 hour'")
	must.Equal(t, must.Get(b.Parked.CatchUp(t.Context(), "profiles"))(t), 0, "users tried before their time")
	must.Equal(t, b.CatchUp("a_child"), 0, "users tried that the parent's table lacks")
	b.Exec("delete from p")
	b.CatchUp("profiles")
	b.CatchUp("a_child")
	b.Want("select id from c", "a")
	b.Want("select target from rollcall.parked")
}

// A removal that the application's own rows forbid waits long.
func TestCatchUpLeavesTimeToTheApplication(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable+"create table orders (who text references p);", fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "a@x"))
	b.Exec("insert into orders values ('a')")
	b.Applies(fixture.All(event.Parked, 1), fixture.Gone("a", 2))
	b.Want("select sqlstate, retry_at > now() + interval '4 minutes' from rollcall.parked", "23503|t")
	b.Exec("delete from orders")
	b.CatchUp("profiles")
	b.Want("select id from p")
}

// Catching up waits for no row: a live event of a parked user beside a held row, or beside a
// held table, is answered at once.
func TestLiveEventsBesideCatchingUp(t *testing.T) {
	testtag.Parallel(t)
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	b.Exec("create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$; create trigger refuse before insert on q for each row execute function refuse()")
	var events []event.Event
	for n := range 200 {
		events = append(events, fixture.Updated(fmt.Sprint("u", n), 1, ""))
	}
	b.Applies(fixture.All(event.Parked, 200), events...)
	b.Exec("drop trigger refuse on q")
	holder := b.Hold("lock table q in access exclusive mode")
	b.Exec("update rollcall.parked set retry_at = now()")
	ended := make(chan error, 1)
	go func() { ended <- must.Err(b.Parked.CatchUp(t.Context(), "second")) }()
	for len(b.Outages()) == 0 && t.Context().Err() == nil { // it notices at once, and waits for nobody
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	b.Submit(fixture.Updated("u7", 2, ""))
	must.Within(t, start, 100*time.Millisecond, "a live event of a parked user")
	holder.Run("rollback")
	must.Do(t, <-ended)
	b.Recover()
	b.Want("select count(*) from q", "200")
}

// Many parked users are settled in seconds, from the roll as it is now.
func TestCatchUpOfMany(t *testing.T) {
	testtag.Parallel(t)
	const n = 100_000
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	b.Exec(fmt.Sprintf(`insert into rollcall.users (source, id, version, email, raw_user_meta_data, raw_app_meta_data) select 'app', 'u' || g, 1, g || '@x', '{}', '{}' from generate_series(1, %d) g;
insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) select 'second', source, id, now(), '42P01', 'gone' from rollcall.users`, n))
	start := time.Now()
	must.Equal(t, must.Get(b.Parked.CatchUp(t.Context(), "second"))(t), n, "users tried")
	t.Logf("%d parked users in %s", n, time.Since(start))
	must.Within(t, start, 30*time.Second, "catching up")
	b.Want("select count(*) from q", fmt.Sprint(n))
	b.Want("select count(*) from rollcall.parked", "0")
}

func TestMain(m *testing.M) { pgtest.Main(m) }
