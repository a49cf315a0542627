package backfill_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/backfill"
	"rollcall/internal/target"
)

func wantUnfilled(b *fixture.Bench, want ...backfill.Unfilled) {
	b.T.Helper()
	must.Equal(b.T, must.Get(b.DB.Backfills().Unfilled(b.T.Context()))(b.T), want, "unfilled")
}

// A target is new when the roll had users before it, until it is filled. One that is there
// before the first user is filled by what arrives, and one out of service has to wait.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	later, foreign := fixture.Everyone(), fixture.Everyone()
	later.Name = "later"
	foreign.Name, foreign.From = "foreign", []target.Origin{{Source: "elsewhere", SampleID: "u1"}}
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	wantUnfilled(b)
	b.FillRoll(12)
	wantUnfilled(b)
	next := b.Replica(later, foreign)
	wantUnfilled(next, backfill.Unfilled{Target: "later", Users: 12})
	wantUnfilled(next, backfill.Unfilled{Target: "later", Users: 12})
	b.Want("select target, visited, finished_at is not null from rollcall.backfills order by 1", "foreign|0|t", "profiles|0|t")
	b.Exec("alter table p drop column name")
	must.Get(next.Check(t.Context()))(t)
	wantUnfilled(next)
	b.Exec("alter table p add column name text")
	must.Get(next.Check(t.Context()))(t)
	must.Get(next.DB.Backfills().Run(t.Context(), "later", nil))(t)
	wantUnfilled(next)
}

// A table that was dropped and made anew lacks everybody who is not parked: its target is new
// again, also for other replicas, until it is filled.
func TestUnfilledAfterADrop(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	wantUnfilled(b)
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	b.Exec("alter table q rename to r")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("c", 1, "c@x"))
	b.Exec("alter table r rename to q")
	b.Recover()
	wantUnfilled(b) // it was the same table all the time

	b.Exec("create table made (like q including all); drop table q")
	b.Applies(fixture.All(event.Parked, 1), fixture.Updated("d", 1, "d@x"))
	must.Do(t, b.Probe(t.Context()))
	b.Exec("alter table made rename to q")
	b.Recover()
	b.Want("select id from q", "d")
	wantUnfilled(b, backfill.Unfilled{Target: fixture.Second().Name, Users: 4})
	fill(b, fixture.Second().Name)
	b.Want("select id from q order by 1", "a", "b", "c", "d")
	wantUnfilled(b)
}
