package load

import (
	"context"
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

// tally is what has come of a run so far, and since it was last looked at.
type tally struct {
	mu              sync.Mutex
	total           Result
	lately          Snapshot
	latency, recent *hdrhistogram.Histogram // of what was accepted
	looked          time.Time
}

func newTally() *tally {
	t := &tally{
		total:   Result{Outcomes: map[string]int64{}, Events: map[string]int64{}, Errors: map[string]int64{}},
		latency: hdrhistogram.New(1, slowest, digits), recent: hdrhistogram.New(1, slowest, digits),
		looked: time.Now(),
	}
	for _, name := range kindNames {
		t.total.Events[name] = 0
	}
	return t
}

// answered notes an answer. The latency of a refusal says nothing about how long accepting
// takes, so it isn't mixed in.
func (t *tally) answered(k Kind, a answer, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.Events[k.String()]++
	t.total.Outcomes[a.name()]++
	if !a.accepted() {
		t.lately.Refused++
		return
	}
	t.lately.Accepted++
	_ = t.recent.RecordValue(min(took.Microseconds(), slowest)) // within its range
}

// failed notes a request without an answer; over is whether it was cut off at the end of
// the run.
func (t *tally) failed(k Kind, err error, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lately.Failed++
	t.total.Events[k.String()]++
	kind := errorKind(err)
	if over {
		kind = "unanswered"
	} else if t.total.Example == nil {
		t.total.Example = err
	}
	t.total.Errors[kind]++
}

// look returns what has come since the last look.
func (t *tally) look() Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := t.lately, time.Now()
	s.For, s.Latency = now.Sub(t.looked), latencyOf(t.recent)
	t.total.Accepted += s.Accepted
	t.total.Refused += s.Refused
	t.total.Failed += s.Failed
	t.latency.Merge(t.recent)
	t.recent.Reset()
	t.lately, t.looked = Snapshot{}, now
	return s
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
	event.Applied, event.Duplicate, event.Stale, event.Ignored, event.Announced, event.Admitted, event.Refused, event.Parked,
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
	r.tally.look()
	result := r.tally.total
	result.Requests, result.Elapsed, result.CPU = r.tried.Load(), time.Since(r.start), took
	result.Interrupted, result.Latency = ctx.Err() != nil, latencyOf(r.tally.latency)
	if !result.Interrupted {
		result.Elapsed = max(result.Elapsed, r.Duration)
		result.Unsent = r.overdue()
	}
	return result
}
