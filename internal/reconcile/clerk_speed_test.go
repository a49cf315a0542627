package reconcile_test

import (
	"runtime"
	"testing"
	"time"

	"rollcall/internal/postgres/directory"
)

// What ten thousand users take, or as many as ROLLCALL_TEST_CLERK_USERS says: brought in, and
// compared with a roll that is right.
func TestClerkSpeed(t *testing.T) {
	n := usersOfTest(t, "ROLLCALL_TEST_CLERK_USERS", 10_000)
	in := newInstance(t)
	in.clerk.PutMany(n)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	users, peak := m.HeapAlloc, uint64(0) // the instance's own users are in the same heap
	in.Progress = func(int64, int64) {
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
	}
	start := time.Now()
	in.wantRun(directory.Reconciled{Created: int64(n)})
	t.Logf("%d users brought in: %s", n, time.Since(start))
	start = time.Now()
	in.wantRun(directory.Reconciled{Unchanged: int64(n)})
	t.Logf("%d users compared in %s, %d MiB of heap beside the %d MiB of the instance", n, time.Since(start), (max(peak, users)-users)>>20, users>>20)
	if peak > users+128<<20 {
		t.Errorf("the heap grew from %d to %d MiB", users>>20, peak>>20)
	}
}
