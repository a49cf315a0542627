package postgres

import (
	"strconv"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// backfill fills a target, and fails the test where that fails.
func (b *bench) backfill(target string) Backfilled {
	b.t.Helper()
	done, err := b.Backfill(b.t.Context(), target, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return done
}

// An empty table has everybody afterwards, in as many visits.
func TestBackfillEmptyTarget(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.fillRoll(2500)
	done := b.backfill("profiles")
	if done != (Backfilled{Visited: 2500}) {
		t.Errorf("done %+v", done)
	}
	b.wantRows("select count(*) from p join rollcall.users u using (id, email) where p.role = 'customer'", "2500")
	b.wantRows("select visited, user_id, finished_at is not null from rollcall.backfills", "2500|u999|t")
}
