package roll_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/erasure"
)

func erasureOf(id string) erasure.Request {
	return erasure.Request{Source: "app", ID: id, Living: true, Who: "cli:tester"}
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
			must.Do(t, fixture.Beside(func() error { return must.Err(b.DB.Eraser().Erase(t.Context(), erasureOf(id))) }, said.Commit))
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
			erasing := b.Begin(must.Get(b.DB.Eraser().Work(t.Context(), erasureOf(id)))(t))
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
	err := fixture.Beside(func() error { return must.Err(b.DB.Eraser().Erase(t.Context(), e)) }, back.Commit)
	must.Fail(t, err, erasure.ErrLiving)
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
	first := b.Begin(must.Get(b.DB.Eraser().Work(t.Context(), erasureOf(id)))(t))
	must.Do(t, fixture.Beside(func() error { return must.Err(b.DB.Eraser().Erase(t.Context(), erasureOf(id))) }, first.Commit))
	b.Want(bodies, "0")
	b.Want("select source, id from rollcall.erased", "app|u1") // what has erased_at
	b.Want("select count(*) from rollcall.audit_log", "2")
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
	done := must.Get(p.DB.Eraser().Erase(t.Context(), erasureOf(userID(1))))(t)
	must.True(t, done.Bodies == 1 && done.Captured == 1, "%+v", done)
	p.Want("select user_id from rollcall_provider.outbox", userID(2))
	p.Want("select id::text from p", userID(2))
}
