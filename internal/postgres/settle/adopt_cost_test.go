//go:build timing

package settle_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/target"
)

// What taking over rows costs against inserting them: medians of batches of 256 users, with 300,000 rows that have no
// key and no statistics.
func TestAdoptionCost(t *testing.T) {
	const batch, rounds = 256, 15
	run := func(to target.Target) (median time.Duration) {
		b := fixture.NewBench(t, fixture.PeopleTable+"insert into people (email) select n || '@x' from generate_series(1, 300000) n", to)
		var took []time.Duration
		for round := range rounds {
			var events []event.Event
			for i := range batch {
				n := round*batch + i + 1
				events = append(events, fixture.Verified(fmt.Sprint("u", n), 1, fmt.Sprint(n, "@x")))
			}
			start := time.Now()
			b.Applies(fixture.All(event.Applied, batch), events...)
			took = append(took, time.Since(start))
		}
		adopted := 0
		if to.Match != nil {
			adopted = batch * rounds
		}
		must.Equal(t, b.Rows("select count(*)::text from people where role = 'old' and auth_id is not null"), []string{fmt.Sprint(adopted)}, "rows taken over")
		slices.Sort(took)
		return took[rounds/2]
	}
	inserting := fixture.Adopting()
	inserting.Match = nil
	inserts, adoptions := run(inserting), run(fixture.Adopting())
	t.Logf("a batch of %d users: inserted in %s, taken over in %s, %.2f times that", batch, inserts, adoptions, float64(adoptions)/float64(inserts))
	if adoptions > 3*inserts {
		t.Errorf("taking over rows takes more than 3 times what inserting takes")
	}
}
