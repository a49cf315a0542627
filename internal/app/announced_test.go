package app

import (
	"testing"
	"time"
)

func TestBlindForAWhile(t *testing.T) {
	t.Parallel()
	b, now := newBackoff(), time.Now()
	b.set("a", now.Add(backoffPause))
	for _, test := range []struct {
		source string
		after  time.Duration
		want   bool
	}{{"a", 0, false}, {"a", backoffPause - 1, false}, {"a", backoffPause, true}, {"b", 0, true}} {
		if got := b.sees(test.source, now.Add(test.after)); got != test.want {
			t.Errorf("%s after %s: %t", test.source, test.after, got)
		}
	}
}
