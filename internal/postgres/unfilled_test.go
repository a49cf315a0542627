package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/target"
)

// A target is new when the roll had users before it, until it is filled. One that is there
// before the first user is filled by what arrives, and one out of service has to wait.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	later, foreign := profiles(), profiles()
	later.Name = "later"
	foreign.Name, foreign.From = "foreign", []target.Origin{{Source: "elsewhere", SampleID: "u1"}}
	b := newBench(t, profilesTable, profiles())
	want := func(db *DB, want ...Unfilled) {
		t.Helper()
		got, err := db.Unfilled(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	want(b.DB)
	b.fillRoll(12)
	want(b.DB)
	next := b.replica(later, foreign)
	want(next, Unfilled{"later", 12})
	want(next, Unfilled{"later", 12})
	b.wantRows("select target, visited, finished_at is not null from rollcall.backfills order by 1", "foreign|0|t", "profiles|0|t")
	b.exec("alter table p drop column name")
	must.Get(next.Check(t.Context()))(t)
	want(next)
	b.exec("alter table p add column name text")
	must.Get(next.Check(t.Context()))(t)
	must.Get(next.Backfill(t.Context(), "later", nil))(t)
	want(next)
}

// A table that was dropped and made anew lacks everybody who is not parked: its target is new
// again, also for other replicas, until it is filled.
func TestUnfilledAfterADrop(t *testing.T) {
	t.Parallel()
	b := newBench(t, bothTables, profiles(), second())
	want := func(want ...Unfilled) {
		t.Helper()
		got, err := b.Unfilled(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	want()
	b.apply(all(event.Applied, 2), updated("a", 1, "a@x"), updated("b", 1, "b@x"))
	b.exec("alter table q rename to r")
	b.apply(all(event.Parked, 1), updated("c", 1, "c@x"))
	b.exec("alter table r rename to q")
	b.recover(t)
	want() // it was the same table all the time

	b.exec("create table made (like q including all); drop table q")
	b.apply(all(event.Parked, 1), updated("d", 1, "d@x"))
	must.Do(t, b.Probe(t.Context()))
	b.exec("alter table made rename to q")
	b.recover(t)
	b.wantRows("select id from q", "d")
	want(Unfilled{second().Name, 4})
	b.backfill(second().Name)
	b.wantRows("select id from q order by 1", "a", "b", "c", "d")
	want()
}
