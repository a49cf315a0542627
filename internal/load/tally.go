package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"rollcall/api"
	"rollcall/internal/event"
)

// The histograms hold microseconds up to an hour, to three digits.
const (
	slowest = int64(time.Hour / time.Microsecond)
	digits  = 3
)

// tally is what came over one connection since it was last collected.
type tally struct {
	mu sync.Mutex
	counts
	latency *hdrhistogram.PackedHistogram // of what was accepted; sparse, for a dense one takes 200 kB
}

// counts add up.
type counts struct {
	accepted int64
	sent     [kinds]int64
	outcomes map[string]int64
	errors   map[string]int64
	example  error // one of the errors
}

func newCounts() counts {
	return counts{outcomes: map[string]int64{}, errors: map[string]int64{}}
}

func newTally() *tally {
	return &tally{counts: newCounts(), latency: hdrhistogram.NewPacked(1, slowest, digits)}
}

// answered notes an answer. The latency of a refusal says nothing about how long accepting
// takes, so it isn't mixed in.
func (t *tally) answered(k Kind, a answer, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent[k]++
	t.outcomes[a.name()]++
	if a.accepted() {
		t.accepted++
		_ = t.latency.RecordValue(min(took.Microseconds(), slowest)) // within its range
	}
}

// failed notes a request without an answer; over is whether it was cut off at the end of
// the run.
func (t *tally) failed(k Kind, err error, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent[k]++
	kind := errorKind(err)
	if over {
		kind = "unanswered"
	} else if t.example == nil {
		t.example = err
	}
	t.errors[kind]++
}

// errorKind names what kept an answer away.
func errorKind(err error) string {
	var broken net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "cut_off"
	case errors.As(err, &broken) && broken.Timeout():
		return "timeout"
	}
	return "other"
}

// outcomes are those that Rollcall answers with.
var outcomes = []event.Outcome{
	event.Applied, event.Duplicate, event.Stale, event.Ignored, event.Announced, event.Admitted, event.Parked,
	event.UndecodableBody, event.Unverified, event.TooLarge, event.Malformed, event.Unavailable,
}

// outcomeOf reads what an answer says of itself.
func outcomeOf(r *http.Response) answer {
	a := answer{status: r.StatusCode}
	outcome := r.Header.Get(api.OutcomeHeader)
	switch {
	case slices.Contains(outcomes, event.Outcome(outcome)):
		a.outcome = outcome
	case r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
		a.outcome = string(event.Unavailable) // a proxy says the same in these words
	}
	return a
}

// name is the outcome, or http_<status> of another server's answer.
func (a answer) name() string {
	if a.outcome != "" {
		return a.outcome
	}
	return fmt.Sprintf("http_%d", a.status)
}

// add moves what another has counted here.
func (c *counts) add(from *counts) {
	c.accepted += from.accepted
	for k, n := range from.sent {
		c.sent[k] += n
	}
	for name, n := range from.outcomes {
		c.outcomes[name] += n
	}
	for name, n := range from.errors {
		c.errors[name] += n
	}
	if c.example == nil {
		c.example = from.example
	}
	clear(from.outcomes)
	clear(from.errors)
	*from = counts{outcomes: from.outcomes, errors: from.errors}
}

// total is what came of all connections.
type total struct {
	counts
	latency   *hdrhistogram.Histogram
	lately    *hdrhistogram.Histogram
	collected time.Time
}

func newTotal() *total {
	return &total{
		counts: newCounts(), collected: time.Now(),
		latency: hdrhistogram.New(1, slowest, digits), lately: hdrhistogram.New(1, slowest, digits),
	}
}

// collect takes what has gathered on the lines.
func (t *total) collect(lines []*line) Snapshot {
	t.lately.Reset()
	before := t.counts.numbers()
	for _, l := range lines {
		l.tally.mu.Lock()
		t.counts.add(&l.tally.counts)
		l.tally.latency.MergeInto(t.lately)
		l.tally.latency.Reset()
		l.tally.mu.Unlock()
	}
	t.latency.Merge(t.lately)
	after := t.counts.numbers()
	now := time.Now()
	defer func() { t.collected = now }()
	return Snapshot{
		Accepted: after[0] - before[0], Refused: after[1] - before[1], Failed: after[2] - before[2],
		For: now.Sub(t.collected), Latency: latencyOf(t.lately),
	}
}

// numbers are accepted, refused and failed.
func (c *counts) numbers() [3]int64 {
	var answered, failed int64
	for _, n := range c.outcomes {
		answered += n
	}
	for _, n := range c.errors {
		failed += n
	}
	return [3]int64{c.accepted, answered - c.accepted, failed}
}
