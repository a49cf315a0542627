package settle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// sicknesses take the table q away from Rollcall's role; cure gives it back.
var sicknesses = map[string]struct{ fall, cure, says string }{
	"dropped":        {"alter table q rename to gone", "alter table gone rename to q", "does not exist (42P01)"},
	"column renamed": {"alter table q rename email to mail", "alter table q rename mail to email", "(42703)"},
	"column dropped": {"alter table q drop name", "alter table q add name text", "(42703)"},
	"index dropped":  {"alter table q drop constraint q_pkey", "alter table q add primary key (id)", "(42P10)"},
	"trigger hangs":  {"create function hang() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return new; end $$; create trigger hang before insert or update on q for each row execute function hang()", "drop trigger hang on q; drop function hang", "it takes too long"},
	"commit hangs":   {"create function hang() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return new; end $$; create constraint trigger hang after insert or update on q deferrable initially deferred for each row execute function hang()", "drop trigger hang on q; drop function hang", "it takes too long"},
	"another column": {"alter table q add needed text not null default ''; alter table q alter needed drop default", "alter table q drop needed", ""},
}

// A table that can't be written opens its target's breaker at once: the others are current,
// the roll is right, nobody waits; cured, it catches up.
func TestBreaker(t *testing.T) {
	testtag.Parallel(t)
	for name, sickness := range sicknesses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
			b.Applies(fixture.Applied, fixture.Updated("before", 1, "before@x"))
			b.Exec(sickness.fall)
			start := time.Now()
			b.Applies(fixture.All(event.Parked, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
			must.Within(t, start, b.Pool.StatementTimeout()+time.Second, "the first batch")
			out := b.Outages()
			if sickness.says == "" { // it refuses each row by itself, so each user is parked
				b.WantOutages()
			} else {
				b.WantOutages(sickness.says)
				must.Contain(t, fmt.Sprint(out), "[second: ")
			}
			start = time.Now()
			b.Applies(fixture.All(event.Parked, 1), fixture.Updated("c", 1, "c@x"))
			must.Within(t, start, 200*time.Millisecond, "the next batch")
			b.Want("select id from p order by 1", "a", "b", "before", "c")
			b.Want("select user_id from rollcall.parked where target = 'second' order by 1", "a", "b", "c")
			must.Do(t, b.Probe(t.Context()))
			must.Equal(t, len(b.Outages()), len(out), "targets out of service after a probe of a sick table")
			b.Exec(sickness.cure)
			b.Recover()
			b.Want("select id from q order by 1", "a", "b", "before", "c")
			b.Want("select user_id from rollcall.parked")
		})
	}
}

// Another session holds the table: the first batch waits for it once, and none after it.
func TestBreakerOfALockedTable(t *testing.T) {
	testtag.Parallel(t)
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	holder := b.Hold("lock table q in access exclusive mode")
	start := time.Now()
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "a@x"))
	must.Within(t, start, b.Pool.LockTimeout()+700*time.Millisecond, "the first batch")
	b.WantOutages("another session holds the table")
	var took []time.Duration
	for n := range 20 {
		start := time.Now()
		b.Applies(fixture.All(event.Parked, 1), fixture.Updated(fmt.Sprint("n", n), 1, ""))
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	if testtag.Timing && took[10] > 50*time.Millisecond {
		t.Errorf("half of the batches beside a locked table take %s and more", took[10])
	}
	must.Do(t, b.Probe(t.Context()))
	b.WantOutages("") // a locked table is not put back into service
	holder.Run("rollback")
	b.Recover()
	b.Want("select count(*) from q", "21")
}

// One transaction of an application holds one row, or a key that it has not committed yet:
// one user is parked until the next try, and nothing opens.
func TestOneHeldRowOpensNothing(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{
		"a row":                    "update q set role = 'vip' where id = 'b'",
		"a key, not committed":     "insert into q (id) values ('c')",
		"an e-mail of another row": "insert into q (id, email) values ('z', 'c@x')",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
			b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
			holder := b.Hold(hold)
			outcomes := must.Get(b.Apply(t.Context(), []event.Event{fixture.Updated("a", 2, "a2@x"), fixture.Updated("b", 2, "b2@x"), fixture.Updated("c", 2, "c@x")}))(t)
			held := slices.DeleteFunc(outcomes, func(o event.Outcome) bool { return o != event.Parked })
			must.Equal(t, held, fixture.All(event.Parked, 1), "one user is parked")
			b.WantOutages()
			b.Want("select count(*), min(sqlstate) from rollcall.parked", "1|55P03")
			holder.Run("rollback")
			b.Recover()
			b.Want("select id, email from q order by 1", "a|a2@x", "b|b2@x", "c|c@x")
		})
	}
}

// A target that was checked while it was sick stays out of service until it is well.
func TestProbeOfABrokenTarget(t *testing.T) {
	t.Parallel()
	b := fixture.EmptyBench(t, fixture.PTable, fixture.Everyone(), fixture.Second())
	must.Equal(t, len(must.Get(b.Check(t.Context()))(t)), 1, "findings")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, "a@x"))
	b.Exec("create table q (id text primary key, email text unique)")
	must.Do(t, b.Probe(t.Context()))
	b.WantOutages("has no column") // what is wrong now
	b.Exec("alter table q add name text, add role text")
	b.Recover()
	b.Want("select id from q", "a")
}

// A child's short trouble does not hold a deletion up for ever: the parent's row can't go
// before the child's, and the child waits for nobody.
func TestDeletionBesideAChildsTrouble(t *testing.T) {
	t.Parallel()
	child := fixture.Everyone()
	child.Name, child.Table, child.Set, child.OnInsert = "child", "public.c", fixture.Assign("id: new.id"), nil
	b := fixture.NewBench(t, fixture.PTable+"create table c (id text primary key references p);", fixture.Everyone(), child)
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "a@x"))
	holder := b.Hold("select from c for update")
	b.Applies(fixture.All(event.Parked, 1), fixture.Gone("a", 2))
	holder.Run("rollback")
	b.CatchUp("child")
	b.CatchUp("profiles")
	b.Want("select target from rollcall.parked")
	b.Want("select id from p")
}

// A lock wait in one target does not shorten the timeout of the next.
func TestAskingIsForOneTarget(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables+`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.005); return new; end $$;
create trigger slow before insert on q for each row execute function slow()`, fixture.Everyone(), fixture.Second())
	b.Pool.SetTimeouts(b.Pool.LockTimeout(), time.Minute)
	b.Applies(fixture.Applied, fixture.Updated("u0", 1, ""))
	b.Hold("select from p for update")
	var events []event.Event
	for n := range 200 {
		events = append(events, fixture.Updated(strings.Repeat("u", n)+"0", 2, ""))
	}
	must.Get(b.Apply(t.Context(), events))(t)
	b.Want("select target, count(*) from rollcall.parked group by 1", "profiles|1")
	b.WantOutages()
}

// What a trigger sets for its transaction ends with its own table.
func TestTriggersSettingsEndWithTheirTable(t *testing.T) {
	t.Parallel()
	q := fixture.Second()
	q.Set = fixture.Assign("id: new.id", "name: new.created_at::text")
	b := fixture.NewBench(t, fixture.BothTables+`create function set_it() returns trigger language plpgsql as $$ begin set local timezone = 'Asia/Tokyo'; set local lock_timeout = 0; return new; end $$;
create trigger set_it before insert on p for each row execute function set_it()`, fixture.Everyone(), q)
	e := fixture.Updated("a", 1, "")
	e.User.CreatedAt = new(e.ReceivedAt.UTC())
	b.Applies(fixture.Applied, e)
	b.Want("select name from q", "2023-11-14 22:13:20+00")
}

// The words of an application are not kept, whatever code it raises.
func TestRaisedWordsAreNotKept(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"23505", "40001", "XX000", "42501", "22023", "P0001"} {
		b := fixture.NewBench(t, fixture.PTable+`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'Anna Smith, token 123' using errcode = '`+code+`'; end $$;
create trigger refuse before insert on p for each row execute function refuse()`, fixture.Everyone())
		b.Applies(fixture.All(event.Parked, 1), fixture.Updated("a", 1, ""))
		b.Want("select sqlstate, error like '%Anna%' from rollcall.parked", code+"|f")
	}
}

// One user whose trigger raises an odd code keeps no breaker open.
func TestProbeMindsTheTable(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables+`create function refuse() returns trigger language plpgsql as $$ begin if new.id = 'bad' then raise exception 'x' using errcode = '40001'; end if; return new; end $$;
create trigger refuse before insert on q for each row execute function refuse()`, fixture.Everyone(), fixture.Second())
	b.Exec("alter table q rename to gone")
	b.Applies(fixture.All(event.Parked, 2), fixture.Updated("bad", 1, ""), fixture.Updated("good", 1, ""))
	b.Exec("alter table gone rename to q")
	b.Recover()
	b.Want("select id from q", "good")
	b.Want("select user_id from rollcall.parked", "bad")
}

// A trigger that defers constraints again, and one that raises what a time limit would, refuse
// their own user and nobody else.
func TestTriggersThatPretend(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a cancelled query":    "if new.id = 'bad' then raise exception 'x' using errcode = '57014'; end if;",
		"deferred constraints": "set constraints all deferred;",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.BothTables+`create table parent (id text primary key); insert into parent values ('good'), ('fine');
alter table q add foreign key (id) references parent deferrable;
create function pretend() returns trigger language plpgsql as $$ begin `+body+` return new; end $$;
create trigger pretend before insert on q for each row execute function pretend()`, fixture.Everyone(), fixture.Second())
			b.Applies([]event.Outcome{event.Applied, event.Parked, event.Applied}, fixture.Updated("good", 1, ""), fixture.Updated("bad", 1, ""), fixture.Updated("fine", 1, ""))
			b.Want("select id from q order by 1", "fine", "good")
			b.WantOutages()
		})
	}
}
