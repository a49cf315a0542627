//go:build !linux

package load

import "time"

// nap sleeps; elsewhere timers are exact.
func nap(d time.Duration) { time.Sleep(d) }
