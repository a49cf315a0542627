//go:build unix

package load

import (
	"syscall"
	"time"
)

// cpu is what this process has taken of the processors.
func cpu() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0 // can't be: the arguments are right
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
