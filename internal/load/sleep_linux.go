package load

import (
	"syscall"
	"time"
)

// preciseSleep sleeps to within some 60 µs; time.Sleep may be a millisecond late, which would count
// as latency. A signal ends it early, which does no harm.
func preciseSleep(d time.Duration) {
	wait := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&wait, nil)
}
