package reconcile

import (
	"testing"
	"time"

	"rollcall/internal/event"
)

func TestAnswer(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		found event.Outcome
		age   time.Duration
		want  event.Outcome
		next  time.Duration // after the announcement
	}{
		"not there at once":       {"", 2 * time.Second, event.Announced, 5 * time.Second},
		"looked a bit late":       {"", 4 * time.Second, event.Announced, 5 * time.Second},
		"not there a second time": {"", 5 * time.Second, event.Announced, 15 * time.Second},
		"nor a third":             {"", 16 * time.Second, event.Announced, time.Minute},
		"just before the last":    {"", time.Minute - 1, event.Announced, time.Minute},
		"the last look":           {"", time.Minute, event.NeverCreated, 0},
		"after a long pause":      {"", time.Hour, event.NeverCreated, 0},
		"pauses are left out":     {"", 20 * time.Second, event.Announced, time.Minute},
		"announced in the future": {"", -time.Hour, event.Announced, 2 * time.Second},
		"there":                   {event.Applied, 2 * time.Second, event.Applied, 0},
		"there at last":           {event.Applied, time.Hour, event.Applied, 0},
		"known already":           {event.Stale, 2 * time.Second, event.Applied, 0},
		"refused by a target":     {event.Parked, 2 * time.Second, event.Parked, 0},
		"not readable":            {event.UndecodableBody, 2 * time.Second, event.UndecodableBody, 0},
		"nothing learned":         {event.Unavailable, time.Hour, event.Announced, time.Hour},
	} {
		got, next := answer(received, received.Add(test.age), test.found)
		want := time.Time{}
		if test.want == event.Announced {
			want = received.Add(test.next)
		}
		if got != test.want || !next.Equal(want) {
			t.Errorf("%s: got %s at %s, want %s at %s", name, got, next, test.want, want)
		}
	}
}
