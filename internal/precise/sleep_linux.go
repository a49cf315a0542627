// Package precise sleeps to within some 60 µs:
//
//	precise.Sleep(500 * time.Microsecond)
package precise

import (
	"syscall"
	"time"
)

// Sleep sleeps to within some 60 µs; time.Sleep may be a millisecond late, which would count
// as latency. A signal ends it early, which does no harm.
func Sleep(d time.Duration) {
	wait := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&wait, nil)
}
