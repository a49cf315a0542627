package roll_test

import (
	"fmt"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
)

// BenchmarkSignals looks at 512 users at a time, new ones and such as have not changed.
func BenchmarkSignals(b *testing.B) {
	const size = 512
	bench := fixture.NewBench(b, fixture.UsersTable, fixture.Members())
	must.Do(b, bench.Follow(b.Context(), "app", "auth.users"))
	bench.Exec(`insert into auth.users (id, email, raw_user_meta_data) select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test', '{"full_name": "Ada Lovelace"}'
		from generate_series(0, 102399) g`)
	batch := func(n int) []event.Event {
		events := make([]event.Event, size)
		for i := range events {
			events[i] = event.Event{Source: "app", Op: event.Look, UserID: fmt.Sprintf("00000000-0000-4000-8000-%012d", (n*size+i)%102400)}
		}
		return events
	}
	n := 0
	for b.Loop() {
		must.Get(bench.Apply(b.Context(), batch(n)))(b)
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/user")
}
