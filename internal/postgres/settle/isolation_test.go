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
)

// What a few users cost that one of three targets refuses, against a healthy batch of 256:
// medians of alternating rounds, in the best of three tries on a busy machine.
func TestIsolationCost(t *testing.T) {
	const batch, rounds = 256, 15
	third := fixture.Second()
	third.Name, third.Table = "third", "public.r"
	b := fixture.NewBench(t, fixture.BothTables+"create table r (id text primary key, email text unique, name text check (name <> 'poison'), role text);", fixture.Everyone(), fixture.Second(), third)
	serial := 0
	run := func(poison int) time.Duration {
		events := make([]event.Event, batch)
		for i := range events {
			serial++
			u := fixture.User(fmt.Sprint("u", serial), 1, fmt.Sprint(serial, "@x"))
			if i%(batch/8) == 7 && i/(batch/8) < poison {
				u.FirstName = new("poison")
			}
			events[i] = fixture.Said(u)
		}
		start := time.Now()
		outcomes := must.Get(b.Apply(t.Context(), events))(t)
		took := time.Since(start)
		if parked := len(slices.DeleteFunc(outcomes, func(o event.Outcome) bool { return o != event.Parked })); parked != poison {
			t.Fatalf("%d are parked, want %d", parked, poison)
		}
		return took
	}
	var one, eight float64
	for range 3 {
		times := map[int][]time.Duration{}
		for range rounds {
			for _, poison := range []int{0, 1, 8} {
				times[poison] = append(times[poison], run(poison))
			}
		}
		median := func(poison int) float64 {
			slices.Sort(times[poison])
			return float64(times[poison][rounds/2])
		}
		one, eight = median(1)/median(0), median(8)/median(0)
		t.Logf("a batch of %d with 3 targets: healthy %s, with one poison user %.2f times that, with eight %.2f", batch, time.Duration(median(0)), one, eight)
		if one <= 2 && eight <= 2.5 {
			return
		}
	}
	t.Errorf("one poison user costs %.2f times a healthy batch, eight %.2f; want 2 and 2.5 at most", one, eight)
}
