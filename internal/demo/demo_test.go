package demo

import (
	"context"
	"testing"
	"testing/synctest"
)

// The story waits for a service that listens and can't commit yet.
func TestAwaitReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- awaitReady(t.Context(), ready) }()
		synctest.Wait()
		if len(ended) > 0 {
			t.Errorf("it did not wait: %v", <-ended)
		}
		close(ready)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := awaitReady(ctx, make(chan struct{})); err == nil {
			t.Error("it did not end with its context")
		}
		if err := awaitReady(t.Context(), make(chan struct{})); err == nil {
			t.Error("it did not end after a minute")
		}
	})
}
