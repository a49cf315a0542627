package roll_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
)

func followed(t *testing.T) *fixture.Bench {
	t.Helper()
	b := fixture.NewBench(t, fixture.UsersTable, fixture.Members())
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	return b
}

func userID(n int) string { return "00000000-0000-0000-0000-00000000000" + string(rune('0'+n)) }

func signal(b *fixture.Bench, want event.Outcome, events ...event.Event) {
	b.T.Helper()
	outcomes := must.Get(b.Apply(b.T.Context(), events))(b.T)
	for i, o := range outcomes {
		if o != want {
			b.T.Errorf("event %d: %s, want %s", i, o, want)
		}
	}
}

func lookAt(n int) event.Event { return event.Event{Source: "app", Op: event.Look, UserID: userID(n)} }

// The table decides, also where a version goes back.
func TestSignals(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.Exec(`insert into auth.users (id, email, raw_user_meta_data) values ('` + userID(1) + `', 'a@x.test', '{"first_name": "one"}')`)
	signal(b, event.Applied, lookAt(1))
	b.Want("select id, email, name from p", userID(1)+"|a@x.test|one")
	b.Exec(`update auth.users set raw_user_meta_data = '{"first_name": "two"}', updated_at = updated_at - interval '5 ms'`)
	signal(b, event.Applied, lookAt(1))
	b.Want("select id, email from p", userID(1)+"|a@x.test")
	b.Want("select first_name from rollcall.users", "two")
	signal(b, event.Stale, lookAt(2))
	b.Want("select count(*) from rollcall.users", "1")
	b.Exec("delete from auth.users")
	e := lookAt(1)
	e.Op = event.Delete
	signal(b, event.Applied, e)
	b.Want("select count(*) from p", "0")
	b.Want("select deleted_at is not null, email is null from rollcall.users", "t|t")
	signal(b, event.Stale, e)
	b.Exec(`insert into auth.users (id, email, raw_user_meta_data) values ('` + userID(1) + `', 'a@x.test', '{"first_name": "back"}')`)
	signal(b, event.Applied, lookAt(1))
	b.Want("select name from p", "back")
}
