//go:build timing

package backfill_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"rollcall/internal/fixture"
)

// TestBackfillSpeed holds a backfill against the bare insert of the same rows, at a table
// with the same indexes: it has half the speed at least. Other tests may be in its way, which
// hurts two connections more than one, so it is measured up to eight times: they end meanwhile.
func TestBackfillSpeed(t *testing.T) {
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.FillRoll(speedUsers)
	b.Exec("analyze rollcall.users")
	ratio := 0.0
	for range 8 {
		if ratio = measureBackfill(b); ratio >= 0.5 {
			return
		}
	}
	t.Errorf("a backfill has %.2f of the speed of a bare insert, want half", ratio)
}

const speedUsers = 100_000

// measureBackfill alternates between the two and returns the ratio of the medians.
func measureBackfill(b *fixture.Bench) float64 {
	const bare = "insert into p (id, email, name, role) select new.id, new.email, new.first_name, 'customer' from rollcall.users new where new.source = 'app' and new.deleted_at is null"
	const rounds = 5
	var filled, inserted []time.Duration
	for range rounds {
		b.Exec("truncate p")
		inserted = append(inserted, timed(func() { b.Exec(bare) }))
		b.Exec("truncate p")
		filled = append(filled, timed(func() { fill(b, "profiles") }))
		b.Want("select count(*) from p", strconv.Itoa(speedUsers))
	}
	ratio := float64(median(inserted)) / float64(median(filled))
	b.T.Logf("%d users: insert … select %s, backfill %s (medians of %d): %.2f of its speed", speedUsers, median(inserted), median(filled), rounds, ratio)
	return ratio
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}
