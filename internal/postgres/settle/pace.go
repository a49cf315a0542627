package settle

import (
	"cmp"
	"sync/atomic"
	"time"
)

// Pace is how many users transactions over spans take: fewer after one that took long, more after one that
// didn't. Live events about these users wait for as long.
type Pace struct{ users atomic.Int64 } // 0 at the beginning

const (
	// mostUsers is the most users that one transaction takes: more are no faster.
	mostUsers = 1000
	// firstUsers and leastUsers are for targets whose triggers take their time: a transaction that runs into
	// the statement timeout is done again with its users one by one.
	firstUsers, leastUsers = 100, 10
	// spanTime is what a transaction should take at most: a live event waits for a lock for 800 ms.
	spanTime = 200 * time.Millisecond
)

// Users is how many users the next transaction is to take.
func (p *Pace) Users() int { return int(cmp.Or(p.users.Load(), firstUsers)) }

// Took learns from how long a transaction took.
func (p *Pace) Took(d time.Duration) {
	users := min(mostUsers, 2*p.Users())
	if d > spanTime {
		users = max(leastUsers, p.Users()/2)
	}
	p.users.Store(int64(users))
}
