//go:build timing

package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
)

// What finding old events by an index costs the new ones, and what looking for events does, in turns with a schema
// without.
func TestIndexesCostBatchesLittle(t *testing.T) {
	const batches = 300
	for name, indexes := range map[string]string{
		"retention": "rollcall.events_kept, rollcall.events_announced",
		"history":   "rollcall.events_kinds, rollcall.events_of_user",
	} {
		with, without := fixture.NewBench(t, fixture.PTable, fixture.Everyone()), fixture.NewBench(t, fixture.PTable, fixture.Everyone())
		without.Exec("drop index " + indexes)
		took := map[*fixture.Bench][]time.Duration{}
		for n := range batches {
			for _, b := range []*fixture.Bench{with, without} {
				var batch [64]event.Event
				for i := range batch {
					e := fixture.Updated(fmt.Sprint("u", (n*64+i)%5000), int64(n), "")
					e.ID, e.ReceivedAt, e.Body = fmt.Sprintf("msg_%x", uint64(n*64+i)*0x9e3779b97f4a7c15), time.Now(), make([]byte, 1200)
					batch[i] = e
				}
				start := time.Now()
				must.Get(b.Apply(t.Context(), batch[:]))(t)
				took[b] = append(took[b], time.Since(start))
			}
		}
		slices.Sort(took[with])
		slices.Sort(took[without])
		ratio := float64(took[with][batches/2]) / float64(took[without][batches/2])
		t.Logf("%s: a batch of 64: %s with the indexes, %s without: ratio %.2f", name, took[with][batches/2], took[without][batches/2], ratio)
		if ratio > 1.5 {
			t.Errorf("the indexes of %s cost a batch %.0f %%", name, 100*(ratio-1))
		}
	}
}
