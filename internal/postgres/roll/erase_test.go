package roll_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/target"
)

func erasureOf(id string) roll.Erasure {
	return roll.Erasure{Source: "app", ID: id, Living: true, Who: "cli:tester"}
}

const (
	bodies      = "select count(*) from rollcall.events where body is not null"
	erasedUsers = "select id, erased_at is not null, email from rollcall.users"
)

// unread is an event about a user that could not be read.
func unread(id string) event.Event {
	e := fixture.Updated(id, 7, "said@x.test")
	e.ID, e.Op, e.User = "unread", event.Undecodable, nil
	return e
}

// raced are the events that an erasure may meet, of a source whose events decide and of one whose table does.
var raced = map[string]func(*testing.T) (b *fixture.Bench, id string, e event.Event){
	"a body": func(t *testing.T) (*fixture.Bench, string, event.Event) {
		t.Helper()
		b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
		b.Applies(fixture.Applied, fixture.Updated("u1", 1, "a@x.test"))
		return b, "u1", fixture.Updated("u1", 2, "said@x.test")
	},
	"a body that can't be read": func(t *testing.T) (*fixture.Bench, string, event.Event) {
		t.Helper()
		b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
		b.Applies(fixture.Applied, fixture.Updated("u1", 1, "a@x.test"))
		return b, "u1", unread("u1")
	},
	"a membership": func(t *testing.T) (*fixture.Bench, string, event.Event) {
		t.Helper()
		b := newTeams(t)
		b.Applies(fixture.Applied, fixture.Updated("u1", 1, "a@x.test"))
		return b, "u1", joined(life{"m1", "red", "u1", 1}, 1, "member")
	},
	"a hook": func(t *testing.T) (*fixture.Bench, string, event.Event) {
		t.Helper()
		b := followed(t)
		insertUsers(b, 1)
		signal(b, event.Applied, lookAt(1))
		return b, userID(1), hook(1, "h")
	},
}

// work is the transaction that an event takes.
func work(b *fixture.Bench, e event.Event) *fixture.Paused {
	b.T.Helper()
	switch {
	case e.Membership != nil:
		return b.Begin(b.TeamWork(e))
	case b.Signal(&e):
		return b.Begin(b.LookWork("app", []event.Event{e}))
	default:
		return b.Begin(b.Work([]event.Event{e}))
	}
}

// An event that is under way when its user is erased is committed with its body, and the erasure waits for it.
func TestRaceEraseBehindAnEvent(t *testing.T) {
	t.Parallel()
	for name, prepare := range raced {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id, e := prepare(t)
			said := work(b, e)
			must.Do(t, fixture.Beside(func() error { return must.Err(b.Erase(t.Context(), erasureOf(id))) }, said.Commit))
			b.Want(erasedUsers, id+"|t|∅")
			b.Want(bodies, "0")
			b.Want("select count(*) from rollcall.memberships where role is not null or deleted_at is null", "0")
			b.Want("select count(*) from p", "0")
		})
	}
}

// An event that arrives while its user is being erased waits for that, and leaves no body.
func TestRaceEventBehindAnErasure(t *testing.T) {
	t.Parallel()
	for name, prepare := range raced {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id, e := prepare(t)
			erasing := b.Begin(must.Get(b.EraseWork(t.Context(), erasureOf(id)))(t))
			must.Do(t, fixture.Beside(applying(b, e), erasing.Commit))
			b.Want(erasedUsers, id+"|t|∅")
			b.Want("select count(*), count(body) from rollcall.events where id = '"+e.ID+"'", "1|0")
			b.Want("select count(*) from rollcall.memberships where role is not null or deleted_at is null", "0")
			b.Want("select count(*) from p", "0")
		})
	}
}

// A user who comes back between the look and the lock is not erased, and nothing of it stays.
func TestRaceEraseOfOneWhoComesBack(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	signal(b, event.Applied, lookAt(1), hook(1, "h"))
	b.Exec("delete from auth.users")
	gone := lookAt(1)
	gone.Op = event.Delete
	signal(b, event.Applied, gone)
	insertUsers(b, 1)
	back := b.Begin(b.LookWork("app", []event.Event{lookAt(1)}))
	e := erasureOf(userID(1))
	e.Living = false
	err := fixture.Beside(func() error { return must.Err(b.Erase(t.Context(), e)) }, back.Commit)
	must.Fail(t, err, roll.ErrLiving)
	b.Want(erasedUsers, userID(1)+"|f|1@x.test")
	b.Want(bodies, "1")
	b.Want("select count(*) from rollcall.audit_log", "0")
	b.Want("select email from p", "1@x.test")
}

// Two erase a user at once: both succeed.
func TestRaceTwoErasures(t *testing.T) {
	t.Parallel()
	b, id, e := raced["a body"](t)
	b.Applies(fixture.Applied, e)
	first := b.Begin(must.Get(b.EraseWork(t.Context(), erasureOf(id)))(t))
	must.Do(t, fixture.Beside(func() error { return must.Err(b.Erase(t.Context(), erasureOf(id))) }, first.Commit))
	b.Want(bodies, "0")
	b.Want("select source, id from rollcall.erased", "app|u1") // what has erased_at
	b.Want("select count(*) from rollcall.audit_log", "2")
}

// Rows that are left are named: where on_delete keeps them or sets columns, where a row can't be deleted, and where
// nobody knows.
func TestEraseNamesTheRowsThatAreLeft(t *testing.T) {
	t.Parallel()
	on := func(name, table string, d target.OnDelete) target.Target {
		one := fixture.Everyone()
		one.Name, one.Table, one.OnDelete = name, "public."+table, d
		return one
	}
	b := fixture.NewBench(t, fixture.BothTables+`create table r (id text primary key, email text, name text, role text);
		create table s (id text primary key, email text, name text, role text); create table away (id text primary key, email text, name text, role text);
		create table orders (owner text references s);`,
		on("a_keeps", "p", target.OnDelete{Action: target.DeleteKeep}), on("b_sets", "q", target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("role: 'gone'")}),
		on("c_deletes", "r", target.OnDelete{Action: target.DeleteRow}), on("d_refuses", "s", target.OnDelete{Action: target.DeleteRow}),
		on("e_away", "away", target.OnDelete{Action: target.DeleteRow}))
	b.Seed(fixture.Updated("u1", 1, "a@x.test"), fixture.Updated("u2", 1, "b@x.test"))
	b.Exec("insert into orders values ('u1'); drop table away")
	must.Get(b.Check(t.Context()))(t)
	done := must.Get(b.Erase(t.Context(), erasureOf("u1")))(t)
	var got []string
	for _, r := range done.Remaining {
		got = append(got, r.Target+" "+r.Table+" "+r.Key["id"]+": "+r.Why)
	}
	must.Equal(t, len(got), 4, "rows that are left")
	for i, words := range []string{"a_keeps public.p u1: on_delete is keep", "b_sets public.q u1: on_delete sets columns", "d_refuses public.s u1: the row could not be deleted", "e_away public.away : the target is out of service"} {
		must.Contain(t, got[i], words)
	}
	b.Want("select target from rollcall.parked order by 1", "d_refuses", "e_away")
	b.Want("select id, role from q order by 1", "u1|gone", "u2|customer")
	b.Exec("delete from orders")
	must.Get(b.Erase(t.Context(), erasureOf("u1")))(t)
	b.Want("select id from s", "u2")
}

// A deletion that is older than the one known would otherwise leave its own external_id.
func TestEraseTakesNoExternalIDOn(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Seed(fixture.Updated("u1", 1, "a@x.test"), fixture.Gone("u1", 9))
	must.Get(b.Erase(t.Context(), erasureOf("u1")))(t)
	older := fixture.With(fixture.Gone("u1", 5), func(u *event.User) { u.ExternalID = new("a@x.test") })
	older.ID, older.Body = "older", []byte(`{"external_id": "a@x.test"}`)
	b.Applies(fixture.All(event.Stale, 1), older)
	b.Want("select external_id, version from rollcall.users", "∅|9")
	b.Want("select outcome, body from rollcall.events where id = 'older'", "stale|∅")
}

// In a hosted project, Rollcall's role may read and delete what is captured, and no more.
func TestEraseInAHostedProject(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	p.paste()
	p.follow()
	insertUsers(p.Bench, 1, 2)
	must.Equal(t, p.drain(), 2, "changes")
	signal(p.Bench, event.Applied, hook(1, "h"))
	p.Exec("update auth.users set email = email || '.test'")
	done := must.Get(p.Erase(t.Context(), erasureOf(userID(1))))(t)
	must.True(t, done.Bodies == 1 && done.Captured == 1, "%+v", done)
	p.Want("select user_id from rollcall_provider.outbox", userID(2))
	p.Want("select id::text from p", userID(2))
}
