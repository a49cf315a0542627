package reconcile

import (
	"sync"
	"time"

	"rollcall/internal/postgres/roll"
)

// lookLimit counts how often rows were looked up.
type lookLimit struct {
	now func() time.Time

	mu    sync.Mutex
	of    map[roll.Name][]time.Time // within the window, the oldest first
	swept time.Time
}

// take counts a look, or says how long there may be none.
func (l *lookLimit) take(f roll.Name) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	begin := now.Add(-looksWindow)
	if l.swept.Before(begin) {
		l.swept = now
		for other, times := range l.of {
			if times[len(times)-1].Before(begin) {
				delete(l.of, other)
			}
		}
	}
	times := l.of[f]
	for len(times) > 0 && !times[0].After(begin) {
		times = times[1:]
	}
	if len(times) >= maxLooks {
		return times[0].Sub(begin)
	}
	l.of[f] = append(times, now)
	return 0
}
