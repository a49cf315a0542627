package watch_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/watch"
	"rollcall/internal/target"
)

// A transaction ends with the targets that it began with; the next one has the others.
func TestReload(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone())
	before := b.Fingerprint()
	begun := b.Begin(b.Work([]event.Event{fixture.Updated("u1", 1, "a@x")}))
	change, found, err := b.DB.Watch().Reload(t.Context(), []target.Target{fixture.Second()})
	must.Do(t, err)
	must.Equal(t, change, watch.Change{Added: []string{"second"}, Changed: []string{}, Removed: []string{"profiles"}}, "change")
	must.Equal(t, len(found), 0, "findings")
	must.True(t, b.Fingerprint() != before, "the fingerprint is the same")
	begun.Commit()
	b.Applies(fixture.Applied, fixture.Updated("u2", 1, "b@x"))
	b.Want("select 'p', id from p union all select 'q', id from q order by 1", "p|u1", "q|u2")
	b.Want("select id, config = "+b.Rows("select config from rollcall.users where id = 'u2'")[0]+" from rollcall.users order by 1", "u1|f", "u2|t")
}

// What does not fit its table changes nothing; what stays the same stays in or out of service.
func TestReloadOfWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone())
	odd := fixture.Second()
	odd.Set = append(odd.Set, fixture.Assign("nothing: new.id")...)
	_, found, err := b.DB.Watch().Reload(t.Context(), []target.Target{fixture.Everyone(), odd})
	must.Fail(t, err, watch.ErrUnfit)
	must.Contain(t, found[0].What, "nothing")
	must.Equal(t, len(b.Configured()), 1, "targets")

	b.Exec("drop table p")
	must.Get(b.Check(t.Context()))(t)
	b.WantOutages("public.p does not exist")
	_, _, err = b.DB.Watch().Reload(t.Context(), []target.Target{fixture.Everyone(), fixture.Second()})
	must.Do(t, err)
	b.WantOutages("public.p does not exist")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("u1", 1, "a@x"))
	b.Want("select id from q", "u1")
}

// A target whose table is another one is new.
func TestReloadOfAnotherTable(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone())
	must.Equal(t, len(must.Get(b.DB.Backfills().Unfilled(t.Context()))(t)), 0, "new targets")
	b.Applies(fixture.Applied, fixture.Updated("u1", 1, "a@x"))
	moved := fixture.Second()
	moved.Name = "profiles"
	change, _, err := b.DB.Watch().Reload(t.Context(), []target.Target{moved})
	must.Do(t, err)
	must.Equal(t, change.Changed, []string{"profiles"}, "changed")
	must.Equal(t, must.Get(b.DB.Backfills().Unfilled(t.Context()))(t)[0].Target, "profiles", "a new target")
}
