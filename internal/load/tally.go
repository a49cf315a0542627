package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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

// Result is what came of a run.
type Result struct {
	// Requests were sent, or tried to; each was accepted (2xx), refused or failed. Unsent
	// were due, but found no connection; they aren't counted in an interrupted run.
	Requests, Accepted, Refused, Failed, Unsent int64
	// Elapsed is from the first request to the last answer, at least the duration.
	Elapsed     time.Duration
	Interrupted bool
	// Latency is of the accepted.
	Latency Latency
	// Outcomes counts the answers by the outcome that Rollcall gave, or as http_<status>.
	Outcomes map[string]int64
	// Events counts the requests by kind: created, updated, deleted.
	Events map[string]int64
	// Errors counts the failed by kind: refused, reset, cut_off, timeout, malformed, other,
	// and unanswered when the run ended. Example is one of them, but for the last.
	Errors  map[string]int64
	Example error
	// CPU is what the sending process took of the processors during the run.
	CPU time.Duration
}

// Latency is how long answers took.
type Latency struct{ P50, P90, P99, P999, Max time.Duration }

// Snapshot is what came of a short while.
type Snapshot struct {
	Accepted, Refused, Failed int64
	For                       time.Duration
	Latency                   Latency
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	at := func(percentile float64) time.Duration {
		return time.Duration(h.ValueAtPercentile(percentile)) * time.Microsecond
	}
	return Latency{at(50), at(90), at(99), at(99.9), at(100)}
}

// result sums a run up when nothing is under way any more.
func (r *run) result(ctx context.Context, took time.Duration) Result {
	numbers := r.total.numbers()
	result := Result{
		Requests: r.tried.Load(), Accepted: numbers[0], Refused: numbers[1], Failed: numbers[2],
		Elapsed: time.Since(r.start), Interrupted: ctx.Err() != nil, Latency: latencyOf(r.total.latency),
		Outcomes: maps.Clone(r.total.outcomes), Events: map[string]int64{}, Errors: maps.Clone(r.total.errors),
		Example: r.total.example, CPU: took,
	}
	for k, n := range r.total.sent {
		result.Events[Kind(k).String()] = n
	}
	if !result.Interrupted {
		result.Elapsed = max(result.Elapsed, r.Duration)
		result.Unsent = r.overdue()
	}
	return result
}

// cpu is what this process has taken of the processors.
func cpu() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0 // can't be: the arguments are right
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
