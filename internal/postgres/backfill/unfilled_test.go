package backfill_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/backfill"
	"rollcall/internal/target"
)

// A target is new when the roll had users before it, until it is filled. One that is there
// before the first user is filled by what arrives, and one out of service has to wait.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	later, foreign := fixture.Everyone(), fixture.Everyone()
	later.Name = "later"
	foreign.Name, foreign.From = "foreign", []target.Origin{{Source: "elsewhere", SampleID: "u1"}}
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	want := func(b *fixture.Bench, want ...backfill.Unfilled) {
		t.Helper()
		got, err := b.DB.Backfills().Unfilled(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	want(b)
	b.FillRoll(12)
	want(b)
	next := b.Replica(later, foreign)
	want(next, backfill.Unfilled{Target: "later", Users: 12})
	want(next, backfill.Unfilled{Target: "later", Users: 12})
	b.Want("select target, visited, finished_at is not null from rollcall.backfills order by 1", "foreign|0|t", "profiles|0|t")
	b.Exec("alter table p drop column name")
	must.Get(next.Check(t.Context()))(t)
	want(next)
	b.Exec("alter table p add column name text")
	must.Get(next.Check(t.Context()))(t)
	must.Get(next.DB.Backfills().Run(t.Context(), "later", nil))(t)
	want(next)
}

// A table that was dropped and made anew lacks everybody who is not parked: its target is new
// again, also for other replicas, until it is filled.
func TestUnfilledAfterADrop(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	want := func(want ...backfill.Unfilled) {
		t.Helper()
		got, err := b.DB.Backfills().Unfilled(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	want()
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	b.Exec("alter table q rename to r")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("c", 1, "c@x"))
	b.Exec("alter table r rename to q")
	b.Recover()
	want() // it was the same table all the time

	b.Exec("create table made (like q including all); drop table q")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("d", 1, "d@x"))
	must.Do(t, b.Probe(t.Context()))
	b.Exec("alter table made rename to q")
	b.Recover()
	b.Want("select id from q", "d")
	want(backfill.Unfilled{Target: fixture.Second().Name, Users: 4})
	fill(b, fixture.Second().Name)
	b.Want("select id from q order by 1", "a", "b", "c", "d")
	want()
}
