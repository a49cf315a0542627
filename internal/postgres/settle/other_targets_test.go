package settle_test

import (
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
)

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
	catchUp(b, "child")
	catchUp(b, "profiles")
	b.Want("select target from rollcall.parked")
	b.Want("select id from p")
}

// A lock wait in one target does not shorten the timeout of the next.
func TestAskingIsForOneTarget(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables+`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.005); return new; end $$;
create trigger slow before insert on q for each row execute function slow()`, fixture.Everyone(), fixture.Second())
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
