package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A target is new when the roll had users before it, until it is filled. One that is there
// before the first user is filled by what arrives, and one out of service has to wait.
func TestUnfilled(t *testing.T) {
	t.Parallel()
	later, foreign := profiles(), profiles()
	later.Name = "later"
	foreign.Name, foreign.From = "foreign", []Origin{{"elsewhere", "u1"}}
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
	if _, err := next.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(next)
	b.exec("alter table p add column name text")
	if _, err := next.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Backfill(t.Context(), "later", nil); err != nil {
		t.Fatal(err)
	}
	want(next)
}
