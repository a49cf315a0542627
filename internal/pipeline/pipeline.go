// Package pipeline collects events into batches, and gives each submitter the outcome of its own event. It hides
// the queue, its bounds, and when a batch begins: the next one collects events while the last is being committed.
//
//	p := pipeline.New(pipeline.Config{Apply: db.Roll().Apply})
//	p.Start()
//	defer p.Shutdown(ctx)
//	outcome, err := p.Submit(ctx, e)
package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/internal/event"
)

// Config says how events become batches. Zero values take the defaults.
type Config struct {
	// Apply commits a batch and returns an outcome per event, in order. Its error goes to
	// every waiter of the batch and should wrap event.ErrUnavailable.
	Apply func(context.Context, []event.Event) ([]event.Outcome, error)
	// Separate picks the events that form batches of their own, with a queue and committers of their
	// own, so that neither kind waits for the other; nil for none.
	Separate func(*event.Event) bool
	// Queue is how many events may wait; one more is refused. Default 8192.
	Queue int
	// QueueBytes bounds the bodies and metadata of the waiting events. Default 64 MiB.
	QueueBytes int
	// Wait is how long a submitter waits for the outcome. Default 4 s.
	Wait time.Duration
	// Committers is how many batches are under way at once, at most. Default 2: one works
	// while the other waits for the disk, and one slow lock does not block all commits; four
	// bring little. Beside one that is quick, none begins that is smaller: few large batches
	// cost less than many small ones.
	Committers int
	// Observe is called with the size and the duration of every batch; may be nil.
	Observe func(events int, took time.Duration)
	// Log takes what goes wrong here; slog.Default() when nil.
	Log *slog.Logger
}

const (
	maxBatchEvents = 512
	maxBatchBytes  = 8 << 20
	// A batch begins beside one that is under way when as many events wait as that one has,
	// and enough of them, or when that one takes longer than patience: it may wait for a lock. An
	// event costs PostgreSQL a third less in a batch of 64 than in one of 8, and little less in
	// larger ones (docs/benchmark.md).
	enough   = 32
	patience = 5 * time.Millisecond
	// applyTimeout frees a committer from a database that neither answers nor fails.
	applyTimeout = 15 * time.Second
)

// Pipeline is a queue with committers that empty it. It is safe for concurrent use.
type Pipeline struct {
	config   Config
	separate *Pipeline       // takes the events that Config.Separate picks; nil for none
	wait     atomic.Int64    // Config.Wait
	apply    context.Context // cancelled when a shutdown runs out of time
	cancel   context.CancelFunc

	mu      sync.Mutex
	arrival *sync.Cond
	queue   []*waiter
	bytes   int
	closed  bool
	busy    int         // batches under way
	size    int         // of the last that began
	began   time.Time   // when the last of them began
	late    *time.Timer // calls patienceEnds that long after the last began, if events wait
	armed   bool        // late is set and has not fired
	working sync.WaitGroup
}

type waiter struct {
	event event.Event
	bytes int
	since time.Time
	done  chan answer // holds one, so that no answer waits for its reader
}

type answer struct {
	outcome event.Outcome
	err     error
}

// New returns a pipeline that takes events and applies none until Start.
func New(cfg Config) *Pipeline {
	cfg.Queue = cmp.Or(cfg.Queue, 8192)
	cfg.QueueBytes = cmp.Or(cfg.QueueBytes, 64<<20)
	cfg.Wait = cmp.Or(cfg.Wait, 4*time.Second)
	cfg.Committers = cmp.Or(cfg.Committers, 2)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if cfg.Observe == nil {
		cfg.Observe = func(int, time.Duration) {}
	}
	p := &Pipeline{config: cfg}
	if cfg.Separate != nil {
		own := cfg
		own.Separate = nil
		p.separate = New(own)
	}
	p.wait.Store(int64(cfg.Wait))
	p.arrival = sync.NewCond(&p.mu)
	p.late = time.AfterFunc(patience, p.patienceEnds)
	p.late.Stop() // until events wait beside a batch
	p.apply, p.cancel = context.WithCancel(context.Background())
	return p
}

// SetLimits changes Config.Queue and Config.Wait. Who waits already goes on as it was.
func (p *Pipeline) SetLimits(queue int, wait time.Duration) {
	if p.separate != nil {
		p.separate.SetLimits(queue, wait)
	}
	p.wait.Store(int64(wait))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config.Queue = queue
}

// Submit queues an event and waits for its outcome, for as long as the context and
// Config.Wait allow. Every error wraps event.ErrUnavailable. An event whose submitter has
// gone is applied all the same.
func (p *Pipeline) Submit(ctx context.Context, e event.Event) (event.Outcome, error) {
	w, err := p.enqueue(e)
	if err != nil {
		return "", err
	}
	wait := time.Duration(p.wait.Load())
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case a := <-w.done:
		return a.outcome, a.err
	case <-timer.C:
		return "", fmt.Errorf("%w: no outcome within %s", event.ErrUnavailable, wait)
	case <-ctx.Done():
		return "", fmt.Errorf("%w: stopped waiting for the outcome: %w", event.ErrUnavailable, ctx.Err())
	}
}

const (
	// inFlight is how many events of one SubmitAll are in the queue: enough for both
	// committers' largest batches, few enough for a webhook not to wait long behind them.
	inFlight = 2 * maxBatchEvents
	// fullPause is how long SubmitAll waits for room in the queue.
	fullPause = 10 * time.Millisecond
)

// SubmitAll queues events in their order, a part at a time, and waits for every outcome for
// as long as the context allows. It is for events without a request that waits:
// while the queue is full, it waits. Events about one user may be applied in any order. An
// outcome is event.Unavailable where the error, which wraps event.ErrUnavailable, says that
// something was not applied.
func (p *Pipeline) SubmitAll(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	outcomes := slices.Repeat([]event.Outcome{event.Unavailable}, len(events))
	var waiting []*waiter
	var failed error
	for i := range events {
		for failed == nil && len(waiting) < min(len(events), i+inFlight) {
			var w *waiter
			if w, failed = p.enqueueLater(ctx, events[len(waiting)]); failed == nil {
				waiting = append(waiting, w)
			}
		}
		if i == len(waiting) {
			break
		}
		select {
		case a := <-waiting[i].done:
			if a.err != nil {
				failed = cmp.Or(failed, a.err)
				continue
			}
			outcomes[i] = a.outcome
		case <-ctx.Done():
			return outcomes, fmt.Errorf("%w: stopped waiting for outcomes: %w", event.ErrUnavailable, ctx.Err())
		}
	}
	return outcomes, failed
}

// enqueueLater waits for room in the queue.
func (p *Pipeline) enqueueLater(ctx context.Context, e event.Event) (*waiter, error) {
	for {
		w, err := p.enqueue(e)
		if !errors.Is(err, errFull) {
			return w, err
		}
		select {
		case <-time.After(fullPause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

var errFull = fmt.Errorf("%w: the queue is full", event.ErrUnavailable)

func size(e *event.Event) int {
	n := len(e.Body)
	if e.User != nil {
		n += len(e.User.RawUserMetaData) + len(e.User.RawAppMetaData)
	}
	if e.Organization != nil {
		n += len(e.Organization.RawPublicMetadata)
	}
	if e.Membership != nil {
		n += len(e.Membership.RawPublicMetadata) + len(e.Membership.Permissions)
	}
	return n
}

// enqueue queues an event in the pipeline that takes it.
func (p *Pipeline) enqueue(e event.Event) (*waiter, error) {
	if p.separate != nil && p.config.Separate(&e) {
		return p.separate.enqueue(e)
	}
	w := &waiter{event: e, bytes: size(&e), since: time.Now(), done: make(chan answer, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, fmt.Errorf("%w: shutting down", event.ErrUnavailable)
	case len(p.queue) >= p.config.Queue:
		return nil, fmt.Errorf("%w with %d events", errFull, len(p.queue))
	case len(p.queue) > 0 && p.bytes+w.bytes > p.config.QueueBytes:
		return nil, fmt.Errorf("%w with %d bytes", errFull, p.bytes)
	}
	p.queue = append(p.queue, w)
	p.bytes += w.bytes
	p.rouse()
	return w, nil
}

// rouse wakes a committer if a batch is to begin now. If events wait beside a batch, it sets the timer for the end of
// patience. It is to be called whenever events were queued or left in the queue; the caller holds mu.
func (p *Pipeline) rouse() {
	switch {
	case p.worth():
		p.arrival.Signal()
	case len(p.queue) > 0 && !p.armed:
		p.armed = true
		p.late.Reset(patience - time.Since(p.began))
	}
}

// patienceEnds sets the timer again if a newer batch has begun since.
func (p *Pipeline) patienceEnds() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	p.rouse()
}

// Waiting counts the events in the queue, without those whose batch is under way, and says for how long the oldest
// has waited.
func (p *Pipeline) Waiting() (events int, oldest time.Duration) {
	if p.separate != nil {
		events, oldest = p.separate.Waiting()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 {
		oldest = max(oldest, time.Since(p.queue[0].since))
	}
	return events + len(p.queue), oldest
}

// Start begins to apply what is queued.
func (p *Pipeline) Start() {
	if p.separate != nil {
		p.separate.Start()
	}
	for range p.config.Committers {
		p.working.Go(func() {
			for batch := p.next(); batch != nil; batch = p.next() {
				p.commit(batch)
			}
		})
	}
}

// Shutdown takes no more events, lets the committers finish what is queued, and answers
// every waiter: those that the context leaves no time for with event.ErrUnavailable.
func (p *Pipeline) Shutdown(ctx context.Context) {
	if p.separate != nil {
		var ending sync.WaitGroup
		ending.Go(func() { p.separate.Shutdown(ctx) })
		defer ending.Wait()
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.arrival.Broadcast()

	stop := context.AfterFunc(ctx, p.cancel)
	defer stop()
	p.working.Wait()
	p.cancel()
	for _, w := range p.take(len(p.queue)) { // there were no committers
		w.done <- answer{err: fmt.Errorf("%w: shutting down", event.ErrUnavailable)}
	}
}

// next waits for events and takes those that have gathered; nil after the end.
func (p *Pipeline) next() []*waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.worth() && !p.closed {
		p.arrival.Wait()
	}
	n, bytes := 0, 0
	for n < len(p.queue) && n < maxBatchEvents && (n == 0 || bytes+p.queue[n].bytes <= maxBatchBytes) {
		bytes += p.queue[n].bytes
		n++
	}
	batch := p.take(n)
	if n > 0 {
		p.busy, p.size, p.began = p.busy+1, n, time.Now()
		p.rouse() // for those that are left
	}
	return batch
}

// worth reports whether a batch is to begin now. The caller holds mu.
func (p *Pipeline) worth() bool {
	waiting := len(p.queue)
	return waiting > 0 && (p.busy == 0 || waiting >= max(enough, p.size) || time.Since(p.began) >= patience)
}

// take removes the first n waiters; nil for none. The caller holds mu or is alone.
func (p *Pipeline) take(n int) []*waiter {
	if n == 0 {
		return nil
	}
	batch := p.queue[:n:n]
	if p.queue = p.queue[n:]; len(p.queue) == 0 {
		p.queue = nil // lets go of the waiters that have been taken
	}
	for _, w := range batch {
		p.bytes -= w.bytes
	}
	return batch
}

// commit applies a batch and answers its waiters.
func (p *Pipeline) commit(batch []*waiter) {
	events := make([]event.Event, len(batch))
	for i, w := range batch {
		events[i] = w.event
	}
	ctx, cancel := context.WithTimeout(p.apply, applyTimeout)
	defer cancel()
	start := time.Now()
	outcomes, err := p.applySafely(ctx, events)
	p.config.Observe(len(batch), time.Since(start))
	p.mu.Lock()
	p.busy--
	p.mu.Unlock()
	for i, w := range batch {
		switch {
		case err != nil:
			w.done <- answer{err: err}
		case outcomes[i] == event.Unavailable:
			w.done <- answer{err: fmt.Errorf("%w: the database has not finished with this event", event.ErrUnavailable)}
		default:
			w.done <- answer{outcome: outcomes[i]}
		}
	}
}

// applySafely makes an error of a panic, which would end the process with all requests that wait.
// The batch counts as not applied, like one that was rolled back.
func (p *Pipeline) applySafely(ctx context.Context, events []event.Event) (outcomes []event.Outcome, err error) {
	err = event.Safely(func() (err error) {
		outcomes, err = p.config.Apply(ctx, events)
		return err
	})
	var stopped *event.PanicError
	switch {
	case errors.As(err, &stopped):
		p.config.Log.Error("applying a batch panicked; its senders are asked to try again",
			"events", len(events), "error", stopped, "stack", stopped.Stack)
		return nil, fmt.Errorf("%w: applying a batch: %w", event.ErrUnavailable, stopped)
	case err == nil && len(outcomes) != len(events):
		return nil, fmt.Errorf("%w: %d outcomes for %d events", event.ErrUnavailable, len(outcomes), len(events))
	}
	return outcomes, err
}
