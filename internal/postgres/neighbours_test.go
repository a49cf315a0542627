package postgres

import (
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

// A child's short trouble does not hold a deletion up for ever: the parent's row can't go
// before the child's, and the child waits for nobody.
func TestDeletionBesideAChildsTrouble(t *testing.T) {
	t.Parallel()
	child := profiles()
	child.Name, child.Table, child.Set, child.OnInsert = "child", "public.c", assign("id: new.id"), nil
	b := newBench(t, profilesTable+"create table c (id text primary key references p);", profiles(), child)
	b.apply(applied, updated("a", 1, "a@x"))
	holder := connect(t, b.url)
	execOn(t, holder, "begin; select from c for update")
	b.apply(all(event.Parked, 1), gone("a", 2))
	execOn(t, holder, "rollback")
	b.catchUp("child")
	b.catchUp("profiles")
	b.wantRows("select target from rollcall.parked")
	b.wantRows("select id from p")
}

// A lock wait in one target does not shorten the timeout of the next.
func TestAskingIsForOneTarget(t *testing.T) {
	t.Parallel()
	b := newBench(t, bothTables+`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.005); return new; end $$;
create trigger slow before insert on q for each row execute function slow()`, profiles(), second())
	b.apply(applied, updated("u0", 1, ""))
	holder := connect(t, b.url)
	execOn(t, holder, "begin; select from p for update")
	var events []event.Event
	for n := range 200 {
		events = append(events, updated(strings.Repeat("u", n)+"0", 2, ""))
	}
	must.Get(b.Apply(t.Context(), events))(t)
	b.wantRows("select target, count(*) from rollcall.parked group by 1", "profiles|1")
	if out := b.outages(); len(out) > 0 {
		t.Errorf("out of service: %q", out)
	}
}

// What a trigger sets for its transaction ends with its own table.
func TestTriggersSettingsEndWithTheirTable(t *testing.T) {
	t.Parallel()
	q := second()
	q.Set = assign("id: new.id", "name: new.created_at::text")
	b := newBench(t, bothTables+`create function set_it() returns trigger language plpgsql as $$ begin set local timezone = 'Asia/Tokyo'; set local lock_timeout = 0; return new; end $$;
create trigger set_it before insert on p for each row execute function set_it()`, profiles(), q)
	e := updated("a", 1, "")
	at := e.ReceivedAt.UTC()
	e.User.CreatedAt = &at
	b.apply(applied, e)
	b.wantRows("select name from q", "2023-11-14 22:13:20+00")
}

// The words of an application are not kept, whatever code it raises.
func TestRaisedWordsAreNotKept(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"23505", "40001", "XX000", "42501", "22023", "P0001"} {
		b := newBench(t, profilesTable+`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'Anna Smith, token 123' using errcode = '`+code+`'; end $$;
create trigger refuse before insert on p for each row execute function refuse()`, profiles())
		b.apply(all(event.Parked, 1), updated("a", 1, ""))
		b.wantRows("select sqlstate, error like '%Anna%' from rollcall.parked", code+"|f")
	}
}

// One user whose trigger raises an odd code keeps no breaker open.
func TestProbeMindsTheTable(t *testing.T) {
	t.Parallel()
	b := newBench(t, bothTables+`create function refuse() returns trigger language plpgsql as $$ begin if new.id = 'bad' then raise exception 'x' using errcode = '40001'; end if; return new; end $$;
create trigger refuse before insert on q for each row execute function refuse()`, profiles(), second())
	b.exec("alter table q rename to gone")
	b.apply(all(event.Parked, 2), updated("bad", 1, ""), updated("good", 1, ""))
	b.exec("alter table gone rename to q")
	b.recover(t)
	b.wantRows("select id from q", "good")
	b.wantRows("select user_id from rollcall.parked", "bad")
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
			b := newBench(t, bothTables+`create table parent (id text primary key); insert into parent values ('good'), ('fine');
alter table q add foreign key (id) references parent deferrable;
create function pretend() returns trigger language plpgsql as $$ begin `+body+` return new; end $$;
create trigger pretend before insert on q for each row execute function pretend()`, profiles(), second())
			b.apply([]event.Outcome{event.Applied, event.Parked, event.Applied}, updated("good", 1, ""), updated("bad", 1, ""), updated("fine", 1, ""))
			b.wantRows("select id from q order by 1", "fine", "good")
			if out := b.outages(); len(out) > 0 {
				t.Errorf("out of service: %q", out)
			}
		})
	}
}
