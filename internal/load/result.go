package load

import (
	"context"
	"maps"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

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
