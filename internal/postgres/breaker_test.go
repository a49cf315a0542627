package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

// second is a target like profiles on another table.
func second() target.Target {
	t := profiles()
	t.Name, t.Table = "second", "public.q"
	return t
}

const bothTables = profilesTable + `create table q (id text primary key, email text unique, name text, role text);`

// outages lists the targets that are out of service, with why.
func (b *bench) outages() []string {
	var list []string
	for _, s := range b.TargetStates() {
		if s.Outage != "" {
			list = append(list, s.Name+": "+s.Outage)
		}
	}
	return list
}

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
			b := newBench(t, bothTables, profiles(), second())
			b.apply(applied, updated("before", 1, "before@x"))
			b.exec(sickness.fall)
			start := time.Now()
			b.apply(all(event.Parked, 2), updated("a", 1, "a@x"), updated("b", 1, "b@x"))
			took := time.Since(start)
			out := b.outages()
			if sickness.says == "" { // it refuses each row by itself, so each user is to blame
				if len(out) > 0 {
					t.Errorf("out of service: %q", out)
				}
			} else if len(out) != 1 || !strings.HasPrefix(out[0], "second: ") || !strings.Contains(out[0], sickness.says) {
				t.Errorf("out of service: %q, want second: …%s", out, sickness.says)
			}
			if testtag.Timing && took > b.pool.StatementTimeout+time.Second {
				t.Errorf("the first batch took %s", took)
			}
			start = time.Now()
			b.apply(all(event.Parked, 1), updated("c", 1, "c@x"))
			if took := time.Since(start); testtag.Timing && took > 200*time.Millisecond {
				t.Errorf("the next batch took %s", took)
			}
			b.wantRows("select id from p order by 1", "a", "b", "before", "c")
			b.wantRows("select user_id from rollcall.parked where target = 'second' order by 1", "a", "b", "c")
			must.Do(t, b.Probe(t.Context()))
			if now := b.outages(); len(now) != len(out) {
				t.Errorf("after a probe of a sick table: %q", now)
			}
			b.exec(sickness.cure)
			b.recover(t)
			b.wantRows("select id from q order by 1", "a", "b", "before", "c")
			b.wantRows("select user_id from rollcall.parked")
		})
	}
}

// recover probes and catches up with the second target as serve does.
func (b *bench) recover(t *testing.T) {
	t.Helper()
	wasOut := len(b.outages()) > 0
	must.Do(t, b.Probe(t.Context()))
	if out := b.outages(); len(out) > 0 {
		t.Errorf("after the cure: %q", out)
	}
	if wasOut { // the probe makes them due
		b.wantRows("select user_id from rollcall.parked where retry_at > now() and not given_up")
	}
	b.exec("update rollcall.parked set retry_at = now() where not given_up")
	must.Get(b.CatchUp(t.Context(), "second"))(t)
}

// Another session holds the table: the first batch waits for it once, and none after it.
func TestBreakerOfALockedTable(t *testing.T) {
	testtag.Parallel(t)
	b := newBench(t, bothTables, profiles(), second())
	holder := connect(t, b.url)
	execOn(t, holder, "begin; lock table q in access exclusive mode")
	start := time.Now()
	b.apply(all(event.Parked, 1), updated("a", 1, "a@x"))
	if took := time.Since(start); testtag.Timing && took > b.pool.LockTimeout+700*time.Millisecond {
		t.Errorf("the first batch took %s", took)
	}
	if out := b.outages(); len(out) != 1 || !strings.Contains(out[0], "another session holds the table") {
		t.Errorf("out of service: %q", out)
	}
	var took []time.Duration
	for n := range 20 {
		start := time.Now()
		b.apply(all(event.Parked, 1), updated(fmt.Sprint("n", n), 1, ""))
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	if testtag.Timing && took[10] > 50*time.Millisecond {
		t.Errorf("half of the batches beside a locked table take %s and more", took[10])
	}
	must.Do(t, b.Probe(t.Context()))
	if len(b.outages()) != 1 {
		t.Error("a locked table was put back into service")
	}
	execOn(t, holder, "rollback")
	b.recover(t)
	b.wantRows("select count(*) from q", "21")
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
			b := newBench(t, bothTables, profiles(), second())
			b.apply(all(event.Applied, 2), updated("a", 1, "a@x"), updated("b", 1, "b@x"))
			holder := connect(t, b.url)
			execOn(t, holder, "begin; "+hold)
			outcomes := must.Get(b.Apply(t.Context(), []event.Event{updated("a", 2, "a2@x"), updated("b", 2, "b2@x"), updated("c", 2, "c@x")}))(t)
			held := 0
			for _, o := range outcomes {
				if o == event.Parked {
					held++
				}
			}
			if out := b.outages(); held != 1 || len(out) > 0 {
				t.Errorf("%d users are parked and out of service is %q: want one user", held, out)
			}
			b.wantRows("select count(*), min(sqlstate) from rollcall.parked", "1|55P03")
			execOn(t, holder, "rollback")
			b.recover(t)
			b.wantRows("select id, email from q order by 1", "a|a2@x", "b|b2@x", "c|c@x")
		})
	}
}

// A target that was checked while it was sick stays out of service until it is well.
func TestProbeOfABrokenTarget(t *testing.T) {
	t.Parallel()
	b := emptyBench(t, profilesTable, profiles(), second())
	if found, err := b.Check(t.Context()); err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	b.apply(all(event.Parked, 1), updated("a", 1, "a@x"))
	b.exec("create table q (id text primary key, email text unique)")
	must.Do(t, b.Probe(t.Context()))
	if out := b.outages(); len(out) != 1 || !strings.Contains(out[0], "has no column") {
		t.Errorf("got %q, want what is wrong now", out)
	}
	b.exec("alter table q add name text, add role text")
	b.recover(t)
	b.wantRows("select id from q", "a")
}
