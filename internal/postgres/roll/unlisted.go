package roll

import (
	"sync"
	"time"
)

// unlisted counts signals about users that neither the table nor the roll has.
type unlisted struct {
	mu    sync.Mutex
	since time.Time
	n     int
}

// manyUnlisted within a minute are no coincidence: hooks of another project come here.
const manyUnlisted = 20

// many reports, once a minute, that another signal makes them many.
func (s *unlisted) many(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.since) > time.Minute {
		s.since, s.n = now, 0
	}
	s.n++
	return s.n == manyUnlisted
}
