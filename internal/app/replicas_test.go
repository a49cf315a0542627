package app

import (
	"context"
	"testing"
	"time"
)

// After an outage of the database, or when this replica was stopped, the others must have had time
// to note themselves.
func TestPulse(t *testing.T) {
	t.Parallel()
	var p pulse
	at := time.Now()
	for i, step := range []struct {
		pause  time.Duration
		failed error
		want   time.Duration
	}{
		{0, nil, 0}, {5 * time.Second, nil, 5 * time.Second}, {5 * time.Second, nil, 10 * time.Second},
		{5 * time.Second, context.DeadlineExceeded, 0}, {5 * time.Second, nil, 5 * time.Second}, {time.Hour, nil, 0}, {time.Second, nil, time.Second},
	} {
		at = at.Add(step.pause)
		if got := p.beat(at, step.failed); got != step.want {
			t.Errorf("note %d: %s, want %s", i, got, step.want)
		}
	}
}
