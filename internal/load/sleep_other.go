//go:build !linux

package load

import "time"

// preciseSleep sleeps; elsewhere timers are exact.
func preciseSleep(d time.Duration) { time.Sleep(d) }
