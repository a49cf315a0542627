package pipeline

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Apply: (&gate{}).apply, Queue: 3, QueueBytes: 100})
		waiting := submit(p, 3)
		synctest.Wait()
		must.Fail(t, must.Err(p.Submit(t.Context(), event.Event{ID: "one too many"})), event.ErrUnavailable, "the queue is full with 3 events")
		p.Shutdown(t.Context()) // without committers nobody may be left waiting
		for id, got := range waiting() {
			if got != "unavailable: shutting down" {
				t.Errorf("%s got %q", id, got)
			}
		}
		must.Fail(t, must.Err(p.Submit(t.Context(), event.Event{})), event.ErrUnavailable)
	})
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Apply: (&gate{}).apply, QueueBytes: 100})
		large := event.Event{Body: make([]byte, 150)}
		go func() { _, _ = p.Submit(context.Background(), large) }() // one is taken whatever its size
		synctest.Wait()
		must.Fail(t, must.Err(p.Submit(t.Context(), event.Event{User: &event.User{RawUserMetaData: "{}"}})), nil, "the queue is full with 150 bytes")
		p.Shutdown(t.Context())
	})
}

// Metadata counts as the body does.
func TestMetadataCountsInBytes(t *testing.T) {
	for name, e := range map[string]event.Event{
		"a body":          {Body: []byte("{  }")},
		"a user":          {User: &event.User{RawUserMetaData: "{}", RawAppMetaData: "{}"}},
		"an organisation": {Organization: &event.Organization{RawPublicMetadata: "{  }"}},
		"a membership":    {Membership: &event.Membership{RawPublicMetadata: "{}", Permissions: "[]"}},
	} {
		must.Equal(t, size(&e), 4, name)
	}
}

// Large bodies make small batches.
func TestBatchIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		close(g.open)
		p := New(Config{Apply: g.apply, Committers: 1})
		for range 9 {
			go func() { _, _ = p.Submit(context.Background(), event.Event{Body: make([]byte, 1<<20)}) }()
		}
		synctest.Wait()
		p.Start()
		synctest.Wait()
		p.Shutdown(t.Context())
		if got := fmt.Sprint(g.sizes); got != "[8 1]" {
			t.Errorf("batches of %s, want [8 1]", got)
		}
	})
}

// Other limits hold for those that come from then on, in both queues.
func TestSetLimits(t *testing.T) {
	t.Parallel()
	apart := func(e *event.Event) bool { return e.Op == event.Look }
	p := New(Config{Queue: 1, Wait: time.Hour, Separate: apart, Apply: func(context.Context, []event.Event) ([]event.Outcome, error) { return nil, nil }})
	defer p.Shutdown(t.Context())
	p.SetLimits(2, time.Millisecond)
	for _, op := range []event.Op{event.Upsert, event.Look} {
		for _, want := range []string{"no outcome within 1ms", "no outcome within 1ms", "full with 2 events"} {
			must.Fail(t, must.Err(p.Submit(t.Context(), event.Event{Op: op})), event.ErrUnavailable, want)
		}
	}
}
