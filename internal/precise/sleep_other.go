//go:build !linux

package precise

import "time"

// Sleep sleeps; elsewhere timers are exact.
func Sleep(d time.Duration) { time.Sleep(d) }
