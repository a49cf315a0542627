package backfill_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/backfill"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// fill fills a target, and fails the test where that fails.
func fill(b *fixture.Bench, target string) backfill.Result {
	b.T.Helper()
	return must.Get(b.DB.Backfills().Run(b.T.Context(), target, nil))(b.T)
}

// A deferred trigger that hangs for one user holds no page of others: it runs before the commit, which
// knows no timeout.
func TestBackfillBesideADeferredTrigger(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable+`create function hang() returns trigger language plpgsql as $$ begin
		if new.email = 'u7@x.test' then perform pg_sleep(60); end if; return new; end $$;
		create constraint trigger hang after insert on p deferrable initially deferred for each row execute function hang()`, fixture.Everyone())
	b.FillRoll(20)
	b.Exec("update rollcall.users set email = 'u7@x.test' where id = (select min(id) from rollcall.users)")
	start := time.Now()
	if done := fill(b, "profiles"); done.Visited != 20 || done.Parked == 0 {
		t.Errorf("backfill: %+v", done)
	}
	if took := time.Since(start); took > 50*time.Second {
		t.Errorf("it took %s", took)
	}
}

func wantFill(b *fixture.Bench, want backfill.Result) {
	b.T.Helper()
	must.Equal(b.T, fill(b, "profiles"), want, "backfill")
}

// An empty table has all users afterwards, in as many visits; an emptied one once more.
func TestBackfillEmptyTarget(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.FillRoll(2500)
	wantFill(b, backfill.Result{Visited: 2500})
	b.Want("select count(*) from p join rollcall.users u using (id, email) where p.role = 'customer'", "2500")
	b.Want("select visited, source, user_id, finished_at is not null from rollcall.backfills", "2500|app|u999|t")
	b.Exec("truncate p")
	wantFill(b, backfill.Result{Visited: 2500})
	b.Want("select count(*) from p", "2500")
}

// Rows that are there become those of the roll; what the application owns stays its own.
func TestBackfillDifferences(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.FillRoll(300)
	b.Exec(`insert into p select id, email, first_name, 'admin' from rollcall.users;
		update p set email = 'old' || id where id like 'u1%'; delete from p where id like 'u2%';
		insert into p values ('stranger', 'of@the.application', null, 'guest');
		update rollcall.users set deleted_at = now(), email = null where id like 'u3%'`)
	fill(b, "profiles")
	b.Want("select count(*) from p where id like 'u3%'", "0")
	b.Want("select count(*) from rollcall.users u left join p using (id) where u.deleted_at is null and (p.email is distinct from u.email or p.name is distinct from u.first_name)", "0")
	b.Want("select role, count(*) from p group by 1 order by 1", "admin|177", "customer|111", "guest|1")
}

// Several sources in one target, and a source that it doesn't follow.
func TestBackfillSources(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.From = []target.Origin{{Source: "zoo", SampleID: "u1"}, {Source: "app", SampleID: "u1"}}
	tgt.Key, tgt.Set = []string{"id"}, fixture.Assign("id: new.source || new.id", "email: new.email")
	b := fixture.NewBench(t, fixture.PTable, tgt)
	b.Exec(`insert into rollcall.users (source, id, version, email) select s, n, 1, s || n from unnest(array['app', 'foreign', 'zoo']) s, generate_series(1, 1500) n`)
	wantFill(b, backfill.Result{Visited: 3000})
	b.Want("select left(id, 3), count(*) from p group by 1 order by 1", "app|1500", "zoo|1500")
}

// Those who don't match leave as the deleted do, by a map as well.
func TestBackfillWhereAndMap(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.Where = &target.Expr{SQL: "new.email not like '9%'"}
	tgt.Set = fixture.Assign("id: new.id", "email: new.email", "name: null")
	tgt.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("email: null", "name: 'left'")}
	b := fixture.NewBench(t, fixture.PTable, tgt)
	b.FillRoll(1000)
	b.Exec(`insert into p select id, email from rollcall.users where id < 'u95' and id >= 'u5';
		update rollcall.users set deleted_at = now(), email = null where id like 'u8%'`)
	fill(b, "profiles")
	b.Want("select left(id, 2), count(*), count(email), count(name) from p where id >= 'u7' group by 1 order by 1", "u7|111|111|0", "u8|111|0|111", "u9|56|0|56")
}

// A user that the target refuses is parked, the others go in; one who was parked and fits is not.
func TestBackfillParked(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table p (id text primary key, email text unique check (email not like '7%'), name text, role text)", fixture.Everyone())
	b.FillRoll(1200)
	b.Exec(`insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) select 'profiles', 'app', id, now(), '23503', '' from rollcall.users where id like 'u5%';
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('other', 'app', 'u5', now(), '23503', '')`)
	wantFill(b, backfill.Result{Visited: 1200, Parked: 111})
	b.Want("select count(*) from p", "1089")
	b.Want("select target, count(*), max(sqlstate) from rollcall.parked where user_id like 'u7%' or user_id like 'u5%' group by 1 order by 1", "other|1|23503", "profiles|111|23514")
}

// An e-mail that is given up further down is free in the end.
func TestBackfillEmailsThatMoved(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.FillRoll(5000)
	b.Exec("insert into p select id, email from rollcall.users; update rollcall.users set email = 'new' where id = 'u999'; update rollcall.users set email = '999@example.com' where id = 'u1'")
	wantFill(b, backfill.Result{Visited: 5000})
	b.Want("select id, email from p where id in ('u1', 'u999') order by 1", "u1|999@example.com", "u999|new")
}

// stopHalfway runs a backfill that is interrupted after some users, and returns how many.
func stopHalfway(b *fixture.Bench, after int64) int64 {
	b.T.Helper()
	ctx, cancel := context.WithCancel(b.T.Context())
	defer cancel()
	done, err := b.DB.Backfills().Run(ctx, "profiles", func(visited, _ int64) {
		if visited >= after {
			cancel()
		}
		time.Sleep(20 * time.Millisecond) // one walker at a time gets here: the other keeps up, also on a busy machine
	})
	if !errors.Is(err, context.Canceled) || done.Visited < after || done.Visited >= 20_000 {
		b.T.Fatalf("interrupted after %d: %v", done.Visited, err)
	}
	b.Want("select count(*) from p", fmt.Sprint(done.Visited))
	b.Want("select visited, finished_at is null from rollcall.backfills", fmt.Sprint(done.Visited, "|t"))
	return done.Visited
}

// An interrupted run is gone on with, once. A row that was taken out behind it shows that it
// did not begin anew.
func TestBackfillResumes(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.FillRoll(20_000)
	visited := stopHalfway(b, 3000)
	b.Exec("delete from p where id = 'u1'")
	wantFill(b, backfill.Result{Visited: 20_000, Resumed: visited})
	b.Want("select count(*), count(*) filter (where id = 'u1') from p", "19999|0")
	wantFill(b, backfill.Result{Visited: 20_000}) // finished: anew
	b.Want("select count(*) from p", "20000")
}

// It is not gone on with when what was done is worth nothing any more.
func TestBackfillBeginsAnew(t *testing.T) {
	t.Parallel()
	other := fixture.Everyone()
	other.Set = fixture.Assign("id: new.id", "email: new.email", "name: new.last_name")
	for name, c := range map[string]struct {
		do     string
		target target.Target
	}{
		"another configuration":           {"", other},
		"truncated, and live users since": {"truncate p; insert into p values ('u1', '1@example.com')", fixture.Everyone()},
		"emptied":                         {"delete from p", fixture.Everyone()},
		"another server":                  {"update rollcall.backfills set seen = '9000000000:9000000000:'", fixture.Everyone()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
			b.FillRoll(20_000)
			stopHalfway(b, 3000)
			b.Exec(c.do)
			wantFill(b.Replica(c.target), backfill.Result{Visited: 20_000})
			b.Want("select count(*) from p", "20000")
		})
	}
}

// One backfill of a target at a time; the second says who the first is.
func TestBackfillOnce(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.FillRoll(10)
	var second error
	must.Get(b.DB.Backfills().Run(t.Context(), "profiles", func(_, _ int64) {
		second = must.Err(b.Replica(fixture.Everyone()).DB.Backfills().Run(t.Context(), "profiles", nil))
	}))(t)
	must.Fail(t, second, connection.ErrRunning, "backfill profiles: another process runs it (backend ")
}

// No such target, and one out of service.
func TestBackfillRefuses(t *testing.T) {
	t.Parallel()
	b := fixture.EmptyBench(t, "", fixture.Everyone())
	must.Get(b.Check(t.Context()))(t)
	for target, want := range map[string]string{"others": "there is no such target", "profiles": "out of service: table public.p does not exist"} {
		must.Fail(t, must.Err(b.DB.Backfills().Run(t.Context(), target, nil)), nil, target, want)
	}
	b.Want("select * from rollcall.backfills")
}

// A preview counts by the target's expressions and can write nothing.
func TestBackfillPreview(t *testing.T) {
	t.Parallel()
	keep, mark := fixture.Everyone(), fixture.Everyone()
	keep.OnDelete.Action = target.DeleteKeep
	mark.Where = &target.Expr{SQL: "new.id not like 'u4%'"}
	mark.Set = fixture.Assign("id: new.id", "email: new.email", "name: new.first_name || current_setting('transaction_read_only')")
	mark.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("email: null", "name: 'left'")}
	for _, c := range []struct {
		target target.Target
		want   backfill.Preview
	}{
		{fixture.Everyone(), backfill.Preview{Visit: 1000, Insert: 111, Change: 112, Remove: 111}},
		{keep, backfill.Preview{Visit: 1000, Insert: 111, Change: 112}},
		{mark, backfill.Preview{Visit: 1000, Insert: 111, Change: 112, Remove: 221}},
	} {
		b := fixture.NewBench(t, fixture.PTable, c.target)
		b.FillRoll(1000)
		b.Exec(`insert into p select id, email, first_name || 'on' from rollcall.users where id not like 'u2%';
			update p set email = null where id like 'u1%'; update p set email = null, name = 'left' where id = 'u4';
			update rollcall.users set deleted_at = now(), email = null where id like 'u3%'`)
		if c.target.Where == nil {
			b.Exec("update p set name = 'Ada'; update p set email = '4@example.com' where id = 'u4'")
		}
		must.Equal(t, must.Get(b.DB.Backfills().Preview(t.Context(), "profiles"))(t), c.want, "preview")
		b.Want("select * from rollcall.backfills")
		if c.target.OnDelete.Action == target.DeleteRow {
			fill(b, "profiles")
			after := must.Get(b.DB.Backfills().Preview(t.Context(), "profiles"))(t)
			must.Equal(t, after, backfill.Preview{Visit: 1000}, "preview afterwards")
		}
	}
}

// traffic applies random states and deletes of some users until it is stopped.
func traffic(db *fixture.Bench, seed uint64, stop <-chan struct{}) {
	random := rand.New(rand.NewPCG(seed, 1))
	for version := int64(2); ; version++ {
		select {
		case <-stop:
			return
		default:
		}
		var events []event.Event
		for range 20 {
			id := fmt.Sprint("u", 1+random.IntN(9000)) // some of them are new
			e := fixture.Updated(id, version, "")
			if random.IntN(3) > 0 {
				e = fixture.Updated(id, version, fmt.Sprintf("%s@%d-%d", id, seed, version))
			}
			if random.IntN(10) == 0 {
				e = fixture.Gone(id, version)
			}
			e.ID = fmt.Sprint(seed, "-", version, "-", id)
			events = append(events, e)
		}
		db.Submit(events...)
	}
}

// Beside live traffic of replicas that know the target and of one that doesn't, the table
// ends as the roll says. The old one stops before the backfill does.
func TestBackfillBesideTraffic(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	old := b.Replica(fixture.Everyone())
	b.FillRoll(6000)
	stop, oldStops := make(chan struct{}), make(chan struct{})
	var live, oldLive sync.WaitGroup
	for seed := range uint64(2) {
		live.Go(func() { traffic(b, seed, stop) })
	}
	oldLive.Go(func() { traffic(old, 9, oldStops) })
	const ofOld = "select count(*) from rollcall.events where id like '9-%'"
	oldEnds := sync.OnceFunc(func() {
		close(oldStops)
		oldLive.Wait()
	})
	done := must.Get(b.DB.Backfills().Run(t.Context(), "second", func(visited, total int64) {
		switch before := b.Rows(ofOld); {
		case visited == 0:
			must.Await(t, "the old replica moves users", func() bool { return !slices.Equal(b.Rows(ofOld), before) })
		case 2*visited > total:
			oldEnds()
		}
	}))(t)
	close(stop)
	live.Wait()
	t.Logf("%+v", done)
	if done.Moved == 0 {
		t.Error("the old replica has moved nobody")
	}
	// The roll as a table, by plain SQL that shares nothing with the statements under test.
	b.Want("select count(*) > 6000, count(*) filter (where deleted_at is not null) > 50 from rollcall.users", "t|t")
	b.Want("select id, email, first_name from rollcall.users where deleted_at is null except select id, email, name from q")
	b.Want("select id, email, name from q except select id, email, first_name from rollcall.users where deleted_at is null")
	b.Want("select * from rollcall.parked where target = 'second'")
}

// The first backfill comes right after the first fill: plans and statistics are those of
// empty tables.
func TestBackfillStalePlans(t *testing.T) {
	t.Parallel()
	where := fixture.Everyone()
	where.Where = &target.Expr{SQL: "new.email is not null"}
	b := fixture.NewBench(t, fixture.PTable+"alter table p set (autovacuum_enabled = off)", where)
	b.Exec("alter table rollcall.users set (autovacuum_enabled = off); alter table rollcall.backfills set (autovacuum_enabled = off)")
	b.Exec("analyze p; analyze rollcall.users")
	for n := range 12 { // every connection makes its generic plans
		b.FillRoll(0)
		b.Exec(fmt.Sprintf("insert into rollcall.users (source, id, version) values ('app', 'a%d', 1)", n))
		fill(b, "profiles")
	}
	b.Exec("truncate rollcall.users")
	b.FillRoll(100_000)
	b.Exec("update rollcall.users set deleted_at = now(), email = null where id like '%7'; insert into p select id, email from rollcall.users where id like '%5'")
	stale := timed(func() { fill(b, "profiles") })
	b.Want("select count(*) from p", "90000")
	b.Exec("truncate p; analyze rollcall.users")
	b.Exec("insert into p select id, email from rollcall.users where id like '%5'")
	b.Pool.Reset()
	fresh := timed(func() { fill(b, "profiles") })
	t.Logf("with stale plans %s, with fresh ones %s: ratio %.2f", stale, fresh, float64(stale)/float64(fresh))
	if testtag.Timing && stale > 4*fresh {
		t.Errorf("a backfill takes %s with stale plans, %s otherwise", stale, fresh)
	}
}

func timed(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}

func wantUnfilled(b *fixture.Bench, want ...backfill.Unfilled) {
	b.T.Helper()
	must.Equal(b.T, must.Get(b.DB.Backfills().Unfilled(b.T.Context()))(b.T), want, "unfilled")
}

// A target is new when the roll had users before it, until it is filled. One that is there
// before the first user is filled by what arrives, and one out of service has to wait.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	later, foreign := fixture.Everyone(), fixture.Everyone()
	later.Name = "later"
	foreign.Name, foreign.From = "foreign", []target.Origin{{Source: "elsewhere", SampleID: "u1"}}
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	wantUnfilled(b)
	b.FillRoll(12)
	wantUnfilled(b)
	next := b.Replica(later, foreign)
	wantUnfilled(next, backfill.Unfilled{Target: "later", Users: 12})
	wantUnfilled(next, backfill.Unfilled{Target: "later", Users: 12})
	b.Want("select target, visited, finished_at is not null from rollcall.backfills order by 1", "foreign|0|t", "profiles|0|t")
	b.Exec("alter table p drop column name")
	must.Get(next.Check(t.Context()))(t)
	wantUnfilled(next)
	b.Exec("alter table p add column name text")
	must.Get(next.Check(t.Context()))(t)
	must.Get(next.DB.Backfills().Run(t.Context(), "later", nil))(t)
	wantUnfilled(next)
}

// A table that was dropped and made anew lacks all users who are not parked: its target is new
// again, also for other replicas, until it is filled.
func TestUnfilledAfterADrop(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	wantUnfilled(b)
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	b.Exec("alter table q rename to r")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("c", 1, "c@x"))
	b.Exec("alter table r rename to q")
	b.Recover()
	wantUnfilled(b) // it was the same table all the time

	b.Exec("create table made (like q including all); drop table q")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("d", 1, "d@x"))
	must.Do(t, b.Probe(t.Context()))
	b.Exec("alter table made rename to q")
	b.Recover()
	b.Want("select id from q", "d")
	wantUnfilled(b, backfill.Unfilled{Target: fixture.Second().Name, Users: 4})
	fill(b, fixture.Second().Name)
	b.Want("select id from q order by 1", "a", "b", "c", "d")
	wantUnfilled(b)
}
