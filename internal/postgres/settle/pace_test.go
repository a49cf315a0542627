package settle_test

import (
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/postgres/settle"
)

// Transactions that are fast get more users, up to a bound; slow ones fewer, down to another.
func TestPace(t *testing.T) {
	t.Parallel()
	var p settle.Pace
	after := func(took time.Duration, times int) int {
		for range times {
			p.Took(took)
		}
		return p.Users()
	}
	must.Equal(t, p.Users(), 100, "at the beginning")
	must.Equal(t, after(200*time.Millisecond, 1), 200, "after a fast one")
	must.Equal(t, after(0, 9), 1000, "after ten")
	must.Equal(t, after(201*time.Millisecond, 1), 500, "after a slow one")
	must.Equal(t, after(time.Minute, 9), 10, "after ten")
}
