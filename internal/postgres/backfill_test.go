package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

func itoa(n int) string { return strconv.Itoa(n) }

// backfill fills a target, and fails the test where that fails.
func (b *bench) backfill(target string) Backfilled {
	b.t.Helper()
	done := must.Get(b.Backfill(b.t.Context(), target, nil))(b.t)
	return done
}

// A deferred trigger that hangs for one user holds no page of others: it runs before the commit, which
// knows no timeout.
func TestBackfillBesideADeferredTrigger(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable+`create function hang() returns trigger language plpgsql as $$ begin
		if new.email = 'u7@x.test' then perform pg_sleep(60); end if; return new; end $$;
		create constraint trigger hang after insert on p deferrable initially deferred for each row execute function hang()`, profiles())
	b.fillRoll(20)
	b.exec("update rollcall.users set email = 'u7@x.test' where id = (select min(id) from rollcall.users)")
	start := time.Now()
	if done := b.backfill("profiles"); done.Visited != 20 || done.Parked == 0 {
		t.Errorf("backfill: %+v", done)
	}
	if took := time.Since(start); took > 50*time.Second {
		t.Errorf("it took %s", took)
	}
}

func (b *bench) wantBackfill(want Backfilled) {
	b.t.Helper()
	if got := b.backfill("profiles"); got != want {
		b.t.Errorf("backfill: %+v, want %+v", got, want)
	}
}

// replica is another process on the same database, with other targets.
func (b *bench) replica(targets ...target.Target) *DB {
	b.t.Helper()
	db := must.Get(Open(Config{URL: b.url, Targets: targets, LockTimeout: 300 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}))(b.t)
	b.t.Cleanup(db.Close)
	if found, err := db.Check(b.t.Context()); err != nil || len(found) > 0 {
		b.t.Fatal(err, found)
	}
	return db
}

func mustApply(t testing.TB, db *DB, events ...event.Event) {
	t.Helper()
	must.Get(db.Apply(t.Context(), events))(t)
}

// An empty table has everybody afterwards, in as many visits; an emptied one once more.
func TestBackfillEmptyTarget(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.fillRoll(2500)
	b.wantBackfill(Backfilled{Visited: 2500})
	b.wantRows("select count(*) from p join rollcall.users u using (id, email) where p.role = 'customer'", "2500")
	b.wantRows("select visited, source, user_id, finished_at is not null from rollcall.backfills", "2500|app|u999|t")
	b.exec("truncate p")
	b.wantBackfill(Backfilled{Visited: 2500})
	b.wantRows("select count(*) from p", "2500")
}

// Rows that are there become those of the roll; what the application owns stays its own.
func TestBackfillDifferences(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.fillRoll(300)
	b.exec(`insert into p select id, email, first_name, 'admin' from rollcall.users;
		update p set email = 'old' || id where id like 'u1%'; delete from p where id like 'u2%';
		insert into p values ('stranger', 'of@the.application', null, 'guest');
		update rollcall.users set deleted_at = now(), email = null where id like 'u3%'`)
	b.backfill("profiles")
	b.wantRows("select count(*) from p where id like 'u3%'", "0")
	b.wantRows("select count(*) from rollcall.users u left join p using (id) where u.deleted_at is null and (p.email is distinct from u.email or p.name is distinct from u.first_name)", "0")
	b.wantRows("select role, count(*) from p group by 1 order by 1", "admin|177", "customer|111", "guest|1")
}

// Several sources in one target, and a source that it doesn't follow.
func TestBackfillSources(t *testing.T) {
	t.Parallel()
	tgt := profiles()
	tgt.From = []target.Origin{{Source: "zoo", SampleID: "u1"}, {Source: "app", SampleID: "u1"}}
	tgt.Key, tgt.Set = []string{"id"}, assign("id: new.source || new.id", "email: new.email")
	b := newBench(t, profilesTable, tgt)
	b.exec(`insert into rollcall.users (source, id, version, email) select s, n, 1, s || n from unnest(array['app', 'foreign', 'zoo']) s, generate_series(1, 1500) n`)
	b.wantBackfill(Backfilled{Visited: 3000})
	b.wantRows("select left(id, 3), count(*) from p group by 1 order by 1", "app|1500", "zoo|1500")
}

// Those who don't match leave as the deleted do, by a map as well.
func TestBackfillWhereAndMap(t *testing.T) {
	t.Parallel()
	tgt := profiles()
	tgt.Where = &target.Expr{SQL: "new.email not like '9%'"}
	tgt.Set = assign("id: new.id", "email: new.email", "name: null")
	tgt.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: assign("email: null", "name: 'left'")}
	b := newBench(t, profilesTable, tgt)
	b.fillRoll(1000)
	b.exec(`insert into p select id, email from rollcall.users where id < 'u95' and id >= 'u5';
		update rollcall.users set deleted_at = now(), email = null where id like 'u8%'`)
	b.backfill("profiles")
	b.wantRows("select left(id, 2), count(*), count(email), count(name) from p where id >= 'u7' group by 1 order by 1", "u7|111|111|0", "u8|111|0|111", "u9|56|0|56")
}

// A user that the target refuses is parked, the others go in; one who was parked and fits is not.
func TestBackfillParked(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create table p (id text primary key, email text unique check (email not like '7%'), name text, role text)", profiles())
	b.fillRoll(1200)
	b.exec(`insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) select 'profiles', 'app', id, now(), '23503', '' from rollcall.users where id like 'u5%';
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('other', 'app', 'u5', now(), '23503', '')`)
	b.wantBackfill(Backfilled{Visited: 1200, Parked: 111})
	b.wantRows("select count(*) from p", "1089")
	b.wantRows("select target, count(*), max(sqlstate) from rollcall.parked where user_id like 'u7%' or user_id like 'u5%' group by 1 order by 1", "other|1|23503", "profiles|111|23514")
}

// An e-mail that is given up further down is free in the end.
func TestBackfillEmailsThatMoved(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.fillRoll(5000)
	b.exec("insert into p select id, email from rollcall.users; update rollcall.users set email = 'new' where id = 'u999'; update rollcall.users set email = '999@example.com' where id = 'u1'")
	b.wantBackfill(Backfilled{Visited: 5000})
	b.wantRows("select id, email from p where id in ('u1', 'u999') order by 1", "u1|999@example.com", "u999|new")
}

// stopHalfway runs a backfill that is interrupted after some users, and returns how many.
func (b *bench) stopHalfway(after int64) int64 {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	done, err := b.Backfill(ctx, "profiles", func(visited, _ int64) {
		if visited >= after {
			cancel()
		}
		time.Sleep(20 * time.Millisecond) // one walker at a time gets here: the other keeps up, also on a busy machine
	})
	if !errors.Is(err, context.Canceled) || done.Visited < after || done.Visited >= 20_000 {
		b.t.Fatalf("interrupted after %d: %v", done.Visited, err)
	}
	b.wantRows("select count(*) from p", fmt.Sprint(done.Visited))
	b.wantRows("select visited, finished_at is null from rollcall.backfills", fmt.Sprint(done.Visited, "|t"))
	return done.Visited
}

// An interrupted run is gone on with, once. A row that was taken out behind it shows that it
// did not begin anew.
func TestBackfillResumes(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.fillRoll(20_000)
	visited := b.stopHalfway(3000)
	b.exec("delete from p where id = 'u1'")
	b.wantBackfill(Backfilled{Visited: 20_000, Resumed: visited})
	b.wantRows("select count(*), count(*) filter (where id = 'u1') from p", "19999|0")
	b.wantBackfill(Backfilled{Visited: 20_000}) // finished: anew
	b.wantRows("select count(*) from p", "20000")
}

// It is not gone on with when what was done is worth nothing any more.
func TestBackfillBeginsAnew(t *testing.T) {
	t.Parallel()
	other := profiles()
	other.Set = assign("id: new.id", "email: new.email", "name: new.last_name")
	for name, c := range map[string]struct {
		do     string
		target target.Target
	}{
		"another configuration":           {"", other},
		"truncated, and live users since": {"truncate p; insert into p values ('u1', '1@example.com')", profiles()},
		"emptied":                         {"delete from p", profiles()},
		"another server":                  {"update rollcall.backfills set seen = '9000000000:9000000000:'", profiles()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, profilesTable, profiles())
			b.fillRoll(20_000)
			b.stopHalfway(3000)
			b.exec(c.do)
			done, err := b.replica(c.target).Backfill(t.Context(), "profiles", nil)
			if want := (Backfilled{Visited: 20_000}); err != nil || done != want {
				t.Errorf("%+v, %v, want %+v", done, err, want)
			}
			b.wantRows("select count(*) from p", "20000")
		})
	}
}

// One backfill of a target at a time; the second says who the first is.
func TestBackfillOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.fillRoll(10)
	var second error
	if _, err := b.Backfill(t.Context(), "profiles", func(_, _ int64) {
		_, second = b.replica(profiles()).Backfill(t.Context(), "profiles", nil)
	}); err != nil {
		t.Error(err)
	}
	if !errors.Is(second, connection.ErrRunning) || !strings.Contains(second.Error(), "backfill profiles: another process is at it (backend ") {
		t.Error(second)
	}
}

// No such target, and one out of service.
func TestBackfillRefuses(t *testing.T) {
	t.Parallel()
	b := emptyBench(t, "", profiles())
	must.Get(b.Check(t.Context()))(t)
	for target, want := range map[string]string{"others": "there is no such target", "profiles": "out of service: table public.p does not exist"} {
		if _, err := b.Backfill(t.Context(), target, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("backfill %s: %v, want %q", target, err, want)
		}
	}
	b.wantRows("select * from rollcall.backfills")
}

// A preview counts by the target's expressions and can write nothing.
func TestBackfillPreview(t *testing.T) {
	t.Parallel()
	keep, mark := profiles(), profiles()
	keep.OnDelete.Action = target.DeleteKeep
	mark.Where = &target.Expr{SQL: "new.id not like 'u4%'"}
	mark.Set = assign("id: new.id", "email: new.email", "name: new.first_name || current_setting('transaction_read_only')")
	mark.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: assign("email: null", "name: 'left'")}
	for _, c := range []struct {
		target target.Target
		want   Preview
	}{
		{profiles(), Preview{Visit: 1000, Insert: 111, Change: 112, Remove: 111}},
		{keep, Preview{Visit: 1000, Insert: 111, Change: 112}},
		{mark, Preview{Visit: 1000, Insert: 111, Change: 112, Remove: 221}},
	} {
		b := newBench(t, profilesTable, c.target)
		b.fillRoll(1000)
		b.exec(`insert into p select id, email, first_name || 'on' from rollcall.users where id not like 'u2%';
			update p set email = null where id like 'u1%'; update p set email = null, name = 'left' where id = 'u4';
			update rollcall.users set deleted_at = now(), email = null where id like 'u3%'`)
		if c.target.Where == nil {
			b.exec("update p set name = 'Ada'; update p set email = '4@example.com' where id = 'u4'")
		}
		got, err := b.PreviewBackfill(t.Context(), "profiles")
		if err != nil || got != c.want {
			t.Errorf("%+v, %v, want %+v", got, err, c.want)
		}
		b.wantRows("select * from rollcall.backfills")
		if c.target.OnDelete.Action == target.DeleteRow {
			b.backfill("profiles")
			if got, err := b.PreviewBackfill(t.Context(), "profiles"); err != nil || got != (Preview{Visit: 1000}) {
				t.Errorf("afterwards %+v, %v", got, err)
			}
		}
	}
}

// traffic applies random states and deletes of some users until it is stopped.
func traffic(t testing.TB, db *DB, seed uint64, stop <-chan struct{}) {
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
			e := updated(id, version, "")
			if random.IntN(3) > 0 {
				e = updated(id, version, fmt.Sprintf("%s@%d-%d", id, seed, version))
			}
			if random.IntN(10) == 0 {
				e = gone(id, version)
			}
			e.ID = fmt.Sprint(seed, "-", version, "-", id)
			events = append(events, e)
		}
		mustApply(t, db, events...)
	}
}

// Beside live traffic of replicas that know the target and of one that doesn't, the table
// ends as the roll says. The old one stops before the backfill does.
func TestBackfillBesideTraffic(t *testing.T) {
	t.Parallel()
	later := profiles()
	later.Name, later.Table = "later", "public.q"
	b := newBench(t, profilesTable+"create table q (like p including all)", profiles(), later)
	old := b.replica(profiles())
	b.fillRoll(6000)
	stop, oldStops := make(chan struct{}), make(chan struct{})
	var live, oldLive sync.WaitGroup
	for seed := range uint64(2) {
		live.Go(func() { traffic(t, b.DB, seed, stop) })
	}
	oldLive.Go(func() { traffic(t, old, 9, oldStops) })
	time.AfterFunc(700*time.Millisecond, func() { close(oldStops) })
	done := b.backfill("later")
	oldLive.Wait()
	close(stop)
	live.Wait()
	t.Logf("%+v", done)
	if done.Moved == 0 {
		t.Error("the old replica has moved nobody")
	}
	// The roll as a table, by plain SQL that shares nothing with the statements under test.
	b.wantRows("select count(*) > 6000, count(*) filter (where deleted_at is not null) > 50 from rollcall.users", "t|t")
	b.wantRows("select id, email, first_name from rollcall.users where deleted_at is null except select id, email, name from q")
	b.wantRows("select id, email, name from q except select id, email, first_name from rollcall.users where deleted_at is null")
	b.wantRows("select * from rollcall.parked where target = 'later'")
}

// The first backfill comes right after the first fill: plans and statistics are those of
// empty tables.
func TestBackfillStalePlans(t *testing.T) {
	t.Parallel()
	where := profiles()
	where.Where = &target.Expr{SQL: "new.email is not null"}
	b := newBench(t, profilesTable+"alter table p set (autovacuum_enabled = off)", where)
	b.exec("alter table rollcall.users set (autovacuum_enabled = off); alter table rollcall.backfills set (autovacuum_enabled = off)")
	b.exec("analyze p; analyze rollcall.users")
	for n := range 12 { // every connection makes its generic plans
		b.fillRoll(0)
		b.exec(fmt.Sprintf("insert into rollcall.users (source, id, version) values ('app', 'a%d', 1)", n))
		b.backfill("profiles")
	}
	b.exec("truncate rollcall.users")
	b.fillRoll(100_000)
	b.exec("update rollcall.users set deleted_at = now(), email = null where id like '%7'; insert into p select id, email from rollcall.users where id like '%5'")
	stale := timed(func() { b.backfill("profiles") })
	b.wantRows("select count(*) from p", "90000")
	b.exec("truncate p; analyze rollcall.users")
	b.exec("insert into p select id, email from rollcall.users where id like '%5'")
	b.pool.Reset()
	fresh := timed(func() { b.backfill("profiles") })
	t.Logf("with stale plans %s, with fresh ones %s: ratio %.2f", stale, fresh, float64(stale)/float64(fresh))
	if testtag.Timing && stale > 4*fresh {
		t.Errorf("a backfill takes %s with stale plans, %s otherwise", stale, fresh)
	}
}

// fillRoll puts n users with the ids u1, u2 … and an e-mail each into the roll, as a
// replica without any of these targets would have.
func (b *bench) fillRoll(n int) {
	b.t.Helper()
	b.exec(strings.ReplaceAll(`insert into rollcall.users (source, id, version, email, first_name, last_name, full_name, raw_user_meta_data, raw_app_meta_data, created_at)
		select 'app', 'u' || n, 1, n || '@example.com', 'Ada', 'Number ' || n, 'Ada Number ' || n, '{"plan": "free"}', '{}', now() from generate_series(1, N) n`,
		"N", itoa(n)))
}

func timed(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}
