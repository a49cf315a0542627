package transitions_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/postgres/transitions"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// ofUsers are the types of transitions of users.
var ofUsers = []string{"appeared", "confirmed", "email_changed", "upgraded", "banned", "unbanned", "deleted"}

// age is for how long a replica that has noted itself lives.
const age = time.Minute

// bench is a database with one notification of everything, whose replica lives.
type bench struct {
	*fixture.Bench
	transitions.Log
}

func everything(name string) transitions.Rule {
	return transitions.Rule{Name: name, On: append(append([]string{}, ofUsers...), transitions.OfMemberships...)}
}

func newBench(t testing.TB) *bench {
	t.Helper()
	f := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b := &bench{f, transitions.New(f.DB.Pool())}
	b.lives("a")
	must.Do(t, b.Register(t.Context(), "a", []transitions.Rule{everything("all")}))
	return b
}

// lives notes a replica.
func (b *bench) lives(replica string) {
	b.T.Helper()
	b.Exec(fmt.Sprintf("insert into rollcall.replicas (id, config) values ('%s', 0) on conflict (id) do update set seen_at = now()", replica))
}

const noted = "select type || ' ' || row_id from rollcall.transitions order by id"

// user is a state of one who was created just now.
func user(id string, version int64, change func(*event.User)) event.Event {
	return fixture.With(fixture.Updated(id, version, id+"@example.com"), func(u *event.User) {
		u.CreatedAt = new(time.Now().Add(time.Minute))
		if change != nil {
			change(u)
		}
	})
}

// Every transition of a user is noted once, whatever repeats it, with what was and what became.
func TestTransitionsOfUsers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	verified := func(u *event.User) { u.EmailVerified = true }
	for version, step := range []struct {
		e    event.Event
		want []string
	}{
		{user("u1", 1, func(u *event.User) { u.IsAnonymous, u.Email = true, nil }), []string{"appeared"}},
		{user("u1", 2, func(u *event.User) { u.IsAnonymous, u.Email = true, nil }), nil},
		{user("u1", 3, nil), []string{"email_changed", "upgraded"}},
		{user("u1", 4, verified), []string{"confirmed"}},
		{user("u1", 4, verified), nil},
		{user("u1", 5, func(u *event.User) { verified(u); u.Banned = true }), []string{"banned"}},
		{user("u1", 3, nil), nil}, // late
		{user("u1", 6, verified), []string{"unbanned"}},
		{user("u1", 7, func(u *event.User) { verified(u); u.FirstName = new("Ada") }), nil},
		{fixture.Gone("u1", 8), []string{"deleted"}},
		{fixture.Gone("u1", 8), nil},
		{user("u1", 9, nil), nil},    // a delete is final
		{fixture.Gone("u2", 1), nil}, // never seen alive
		{user("u3", 1, verified), []string{"appeared", "confirmed"}},
	} {
		b.Exec("delete from rollcall.transitions")
		b.Submit(step.e)
		b.Submit(step.e)
		b.Submit(fixture.Observed(step.e))
		var want []string
		for _, kind := range step.want {
			want = append(want, kind+" "+step.e.UserID)
		}
		if got := b.Rows(noted); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("step %d: noted %q, want %q", version, got, want)
		}
	}
}

// A transition has what was and what became, without what it is not about.
func TestTransitionHasBothStates(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Submit(user("u1", 1, nil))
	b.Submit(fixture.With(user("u1", 2, nil), func(u *event.User) { u.Email = new("new@example.com") }))
	b.Submit(fixture.Gone("u1", 3))
	b.Want("select type, (was).email, (became).email, source, user_id from rollcall.transitions order by id",
		"appeared|∅|u1@example.com|app|u1", "email_changed|u1@example.com|new@example.com|app|u1", "deleted|new@example.com|∅|app|u1")
	columns := b.Rows("select attname from pg_attribute where attrelid = 'rollcall.noted'::regclass order by attnum")
	must.Equal(t, columns, transitions.Columns, "columns")
}

// Users who were created before the notification are silent when they come, and no later: a second notification
// begins at its own moment.
func TestImportedUsersAreSilent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := func(id string, version int64, change func(*event.User)) event.Event {
		return fixture.With(user(id, version, change), func(u *event.User) { u.CreatedAt = new(time.Now().Add(-time.Hour)) })
	}
	b.Submit(old("u1", 1, func(u *event.User) { u.EmailVerified = true }))
	b.Submit(fixture.Updated("u2", 1, "u2@example.com")) // nobody says when they were created
	b.Want(noted)
	b.Submit(old("u1", 2, func(u *event.User) { u.EmailVerified = true; u.Banned = true }))
	b.Submit(user("u3", 1, nil))
	b.Want("select type || ' ' || row_id || ' ' || name from rollcall.transitions t join rollcall.notifications n on n.transition = t.id order by t.id", "banned u1 all", "appeared u3 all")

	b.Exec("update rollcall.notifiers set since = now() - interval '2 hours'; update rollcall.rules set since = now() - interval '2 hours'")
	must.Do(t, b.Register(t.Context(), "a", []transitions.Rule{everything("all"), everything("second")}))
	b.Submit(old("u4", 1, nil))
	b.Submit(user("u5", 1, nil))
	b.Want("select row_id || ' ' || name from rollcall.transitions t join rollcall.notifications n on n.transition = t.id where row_id > 'u3' order by t.id, name", "u4 all", "u5 all", "u5 second")
}

// The triggers of updates note every type, those of inserts only what an insert can cause.
func TestNoting(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const types = "select roll || ' ' || name || ' ' || array_to_string(transitions, ' ') from rollcall.noting() order by 1"
	b.Want(types, "memberships note_changed_rows "+strings.Join(transitions.OfMemberships, " "), "memberships note_new_rows joined",
		"users note_changed_rows "+strings.Join(ofUsers, " "), "users note_new_rows appeared confirmed")
}

// Each trigger is there only while a rule wants what it notes. What replicas that live want counts, and of one that is
// gone what it wanted last until another one begins.
func TestRegister(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const triggers = "select tgrelid::regclass::text || ' ' || tgname from pg_trigger where tgname like 'note%' order by 1"
	const rules = "select replica || ' ' || name from rollcall.rules order by 1"
	b.Want(triggers, "rollcall.memberships note_changed_rows", "rollcall.memberships note_new_rows", "rollcall.users note_changed_rows", "rollcall.users note_new_rows")
	since := b.Rows("select since::text from rollcall.notifiers")
	must.Do(t, b.Register(t.Context(), "a", []transitions.Rule{{Name: "all", On: []string{"deleted"}, From: []string{"other"}}}))
	must.Do(t, b.Tidy(t.Context(), age))
	b.Want(triggers, "rollcall.users note_changed_rows")
	must.Do(t, b.Register(t.Context(), "a", []transitions.Rule{{Name: "all", On: []string{"appeared"}}}))
	b.Want(triggers, "rollcall.users note_changed_rows", "rollcall.users note_new_rows")
	must.Do(t, b.Register(t.Context(), "a", []transitions.Rule{{Name: "all", On: []string{"deleted"}, From: []string{"other"}}}))
	b.Want("select since::text from rollcall.rules", since...)
	b.Submit(user("u1", 1, nil), fixture.Gone("u1", 2))
	b.Want(noted) // another source

	b.lives("b")
	must.Do(t, b.Register(t.Context(), "b", nil))
	b.Want(rules, "a all")
	b.Exec("delete from rollcall.replicas where id = 'a'")
	b.Want(rules, "a all")
	must.Do(t, b.Tidy(t.Context(), age))
	b.Want(rules)
	b.Want(triggers)
	b.Submit(user("u2", 1, nil))
	b.Want(noted)
	must.Do(t, b.Register(t.Context(), "b", []transitions.Rule{everything("all")}))
	b.Want("select since::text from rollcall.notifiers", since...)
}

// An erased user's transitions are deleted. That they are deleted is said, without what was known of them.
func TestErasedUsersAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Submit(user("u1", 1, nil))
	b.Want("select count(*)::text from rollcall.notifications", "1")
	must.Get(b.DB.Eraser().Erase(t.Context(), erasure.Request{Source: "app", ID: "u1", Living: true, Who: "test"}))(t)
	b.Want("select type, was, became from rollcall.transitions", "deleted|∅|∅")
	b.Want("select t.type from rollcall.notifications n left join rollcall.transitions t on t.id = n.transition", "deleted")
	if traces := b.SQL.Traces([]string{"u1@example.com"}); len(traces) > 0 {
		t.Errorf("left: %q", traces)
	}
}

// A deletion that waits is still said after an erasure, without what was known of the user.
func TestErasureKeepsWhatWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Submit(user("u1", 1, nil))
	b.Submit(fixture.Gone("u1", 2))
	b.Exec("update rollcall.notifications set error = 'about u1@example.com', attempts = 1")
	must.Get(b.DB.Eraser().Erase(t.Context(), erasure.Request{Source: "app", ID: "u1", Living: true, Who: "test"}))(t)
	b.Want("select t.type, t.was, n.state, n.error from rollcall.transitions t join rollcall.notifications n on n.transition = t.id", "deleted|∅|pending|∅")
	if traces := b.SQL.Traces([]string{"u1@example.com"}); len(traces) > 0 {
		t.Errorf("left: %q", traces)
	}
}

// A role that owns nothing can register, and what it writes is noted.
func TestRegisterAsAnotherRole(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other, role := b.AsRole("grant execute on all functions in schema rollcall to %[1]s; grant all on p to %[1]s", fixture.Everyone())
	_ = role
	other.InService()
	log := transitions.New(other.DB.Pool())
	b.Exec("delete from rollcall.replicas")
	must.Do(t, log.Tidy(t.Context(), age))
	b.Want("select count(*)::text from pg_trigger where tgname like 'note%'", "0")
	b.lives("b")
	must.Do(t, log.Register(t.Context(), "b", []transitions.Rule{everything("all")}))
	other.Submit(user("u1", 1, nil))
	b.Want(noted, "appeared u1")
}

// What is noted while an erasure waits for the user, or was under way when it looked, is deleted, too; of others nothing.
func TestErasureDeletesWhatComesMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Submit(user("u1", 1, nil), user("other", 1, nil))
	underWay := b.Begin(b.Work([]event.Event{user("u1", 2, func(u *event.User) { u.Email = new("second@example.com") })}))
	b.Submit(user("late", 1, nil))
	erasing := must.Get(b.DB.Eraser().Work(t.Context(), erasure.Request{Source: "app", ID: "u1", Living: true, Who: "test"}))(t)
	underWay.Commit()
	b.Submit(user("u1", 3, func(u *event.User) { u.Email = new("third@example.com") }))
	b.Begin(erasing).Commit()
	b.Want(noted, "appeared other", "appeared late", "deleted u1")
	if traces := b.SQL.Traces([]string{"u1@example.com", "second@example.com", "third@example.com"}); len(traces) > 0 {
		t.Errorf("left: %q", traces)
	}
}

// The backlog of a notification is bounded: the oldest are given up, also those that have waited for a month, and other
// notifications keep theirs.
func TestBacklogIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Exec(fmt.Sprintf("insert into rollcall.transitions (type, source, row_id) select 'banned', 'app', 'u' || i from generate_series(1, %d) i", transitions.MaxBacklog+10_005)) // more than one statement takes
	b.Exec("insert into rollcall.notifications (name, transition, noted_at) select 'all', id, at from rollcall.transitions; insert into rollcall.notifications (name, transition, noted_at) select 'other', id, at from rollcall.transitions where id <= 7")
	b.Exec("insert into rollcall.notifications (name, transition, noted_at) select 'slow', id, at - (id - 1) * interval '30 days 1 minute' from rollcall.transitions where id <= 2")
	lost := must.Get(b.Bound(t.Context()))(t)
	must.Equal(t, lost, map[string]int64{"all": 10_005, "slow": 1})
	b.Want("select n.name, n.state, count(*)::text, min(t.id)::text, n.error from rollcall.notifications n join rollcall.transitions t on t.id = n.transition group by 1, 2, 5 order by 1, 2",
		"all|failed|10005|1|given up: too many notifications waited", "all|pending|100000|10006|∅", "other|pending|7|1|∅",
		"slow|failed|1|2|given up: it waited for too long", "slow|pending|1|1|∅")
	waiting := must.Get(b.Backlogs(t.Context()))(t)
	must.Equal(t, waiting["all"].Pending, transitions.MaxBacklog)
	must.Equal(t, must.Get(b.Bound(t.Context()))(t), map[string]int64{})
	must.Equal(t, must.Get(b.Retry(t.Context(), transitions.Filter{Name: "all"}))(t), int64(10_005))
}

func TestBoth(t *testing.T) {
	t.Parallel()
	of := func(name, on, from string) transitions.Rule {
		return transitions.Rule{Name: name, On: strings.Fields(on), From: strings.Fields(from)}
	}
	got := transitions.Both([]transitions.Rule{of("a", "appeared", "x"), of("b", "banned", "x"), of("c", "left", "")},
		[]transitions.Rule{of("b", "banned deleted", "y"), of("c", "left", "x"), of("d", "joined", "z")})
	must.Equal(t, got, []transitions.Rule{of("a", "appeared", "x"), of("b", "banned deleted", "x y"), {Name: "c", On: []string{"left"}}, of("d", "joined", "z")})
}
