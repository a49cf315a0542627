package roll_test

import (
	"fmt"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
)

// BenchmarkApply commits batches of new users on one connection. The server for tests does
// not wait for the disk: this is the cost of everything else.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			db := fixture.NewBench(b, fixture.PTable, fixture.Everyone())
			batch := make([]event.Event, size)
			next := 0
			b.ReportAllocs()
			for b.Loop() {
				for i := range batch {
					next++
					batch[i] = fixture.Updated(fmt.Sprint("u", next), 1, fmt.Sprint(next, "@example.com"))
				}
				must.Get(db.Apply(b.Context(), batch))(b)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
