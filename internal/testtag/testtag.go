// Package testtag tells tests with which build tags they were built:
//
//	timing   durations are held against their bounds, which a busy machine misses
//	long     random tests run at full size
//
// Without the tags a test asserts everything but durations, and a random test runs a
// twentieth of its cases with the same code. .ci/run runs every tag.
package testtag

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Parallel marks a test that measures a duration. It runs by itself with the tag timing and in
// parallel with others without.
func Parallel(t *testing.T) {
	t.Helper()
	if !Timing {
		t.Parallel()
	}
}

// Part is how many of the n cases of a random test to run.
func Part(n int) int {
	if Long {
		return n
	}
	return max(1, n/20)
}

// Seed returns the seed of a random test and logs it: ROLLCALL_TEST_SEED if it is set, else
// always the same one, or a new one with the tag long.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("ROLLCALL_TEST_SEED"), 10, 64)
	switch {
	case err != nil && !Long:
		seed = 1
	case err != nil:
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("ROLLCALL_TEST_SEED=%d", seed)
	return seed
}
