package erasure_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// u1 asks for a user of the bench who may be living.
var u1 = erasure.Request{Source: "app", ID: "u1", Living: true, Who: "cli:tester"}

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
	done := must.Get(b.DB.Eraser().Erase(t.Context(), u1))(t)
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
	must.Get(b.DB.Eraser().Erase(t.Context(), u1))(t)
	b.Want("select id from s", "u2")
}

// A deletion that is older than the one known would otherwise leave its own external_id.
func TestEraseTakesNoExternalIDOn(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Seed(fixture.Updated("u1", 1, "a@x.test"), fixture.Gone("u1", 9))
	must.Get(b.DB.Eraser().Erase(t.Context(), u1))(t)
	older := fixture.With(fixture.Gone("u1", 5), func(u *event.User) { u.ExternalID = new("a@x.test") })
	older.ID, older.Body = "older", []byte(`{"external_id": "a@x.test"}`)
	b.Applies(fixture.All(event.Stale, 1), older)
	b.Want("select external_id, version from rollcall.users", "∅|9")
	b.Want("select outcome, body from rollcall.events where id = 'older'", "stale|∅")
}
