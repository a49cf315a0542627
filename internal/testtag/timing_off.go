//go:build !timing

package testtag

// Timing says that durations are held against their bounds.
const Timing = false
