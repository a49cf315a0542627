// Package load sends many signed events to an installation and measures the answers. It hides how it needs little
// processor time for a request, because it shares the machine with the service and the database that it measures:
//
//	to, err := load.Resolve(ctx, "http://127.0.0.1:8080")
//	result, err := load.Run(ctx, load.Config{To: to, Source: src, Mix: load.DefaultMix, Connections: 64,
//		Duration: 10 * time.Second})
//
// Requests are signed ahead, as bytes. Each connection belongs to one goroutine, which writes requests and reads
// answers: net/http's client takes 2.3 times as much processor time (25 against 11 µs), its reader of answers alone
// nearly none.
package load

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/internal/precise"
	"rollcall/internal/source"
)

// Config describes a run.
type Config struct {
	// To is where requests go.
	To Receiver
	// Source signs.
	Source *source.Source
	// Mix is how often events of each kind are sent.
	Mix Mix
	// Users is how many made-up users may live at once: beyond that, another user is updated
	// instead. 0 is no limit.
	Users int
	// Run tells the users of this run from all others, see IDs.
	Run uint32
	// Connections is how many requests may be under way at once, at least 1.
	Connections int
	// Rate is how many requests a second are due, whether or not a connection is free;
	// latency counts from when a request was due. 0 is as fast as the answers come; latency
	// counts from the write.
	Rate float64
	// Duration is how long requests are sent.
	Duration time.Duration
	// Ahead is how many requests are made before the first is sent, and kept in store from
	// then on; 0 is 8,192, which are 24 MB.
	Ahead int
	// Live, if not nil, is called every second with what came since the last call.
	Live func(Snapshot)
}

const (
	// answerTimeout is how long Clerk waits for an answer; Supabase gives up after 5 s.
	answerTimeout = 15 * time.Second
	// grace is how long answers are waited for in the end, and how long requests that were
	// due before and found no connection may still be sent.
	grace = 5 * time.Second
	// pause follows a connection that could not be opened, when there is no rate.
	pause = 100 * time.Millisecond
)

// run is a run under way.
type run struct {
	Config
	lines []*line
	ahead <-chan *request
	// sending ends when nothing more is sent, hard when nothing more is waited for.
	sending, hard context.Context
	start         time.Time
	tried         atomic.Int64
	tally         *tally
}

// Run sends until the duration is over or the context ends, and returns what came of it. An
// error says why it could not begin.
func Run(ctx context.Context, cfg Config) (Result, error) {
	s, err := newSealer(cfg)
	if err != nil {
		return Result{}, err
	}
	r := &run{Config: cfg, tally: newTally()}
	if r.lines, err = openLines(ctx, cfg); err != nil {
		return Result{}, err
	}
	defer r.hangUp()
	preparing, stop := context.WithCancel(ctx)
	defer stop()
	if r.ahead, err = prepare(preparing, s, cfg); err != nil {
		return Result{}, err
	}
	return r.run(ctx), nil
}

// requests is how many are due, 0 where that is as many as come to be.
func (c Config) requests() int64 {
	if c.Rate == 0 {
		return 0
	}
	return max(1, int64(c.Rate*c.Duration.Seconds()))
}

func (r *run) run(ctx context.Context) Result {
	began := cpu()
	r.start = time.Now()
	end := r.start.Add(r.Duration)
	if r.Rate > 0 {
		end = end.Add(grace) // what is overdue is still sent
	}
	var stop, hang context.CancelFunc
	r.sending, stop = context.WithDeadline(ctx, end)
	r.hard, hang = context.WithDeadline(context.WithoutCancel(ctx), r.start.Add(r.Duration+grace))
	defer stop()
	defer hang()
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, hang) })
	context.AfterFunc(r.hard, func() { stop(); r.hangUp() })
	r.work()
	return r.result(ctx, cpu()-began)
}

// work keeps every connection busy until the end, and looks at the numbers every second.
func (r *run) work() {
	next := r.ahead
	if r.Rate > 0 {
		next = r.paced()
	}
	var working sync.WaitGroup
	for _, l := range r.lines {
		working.Go(func() { r.keepBusy(l, next) })
	}
	done := make(chan struct{})
	go func() { working.Wait(); close(done) }()
	for second := time.Tick(time.Second); ; {
		select {
		case <-second:
			snapshot := r.tally.look()
			if r.Live != nil {
				r.Live(snapshot)
			}
		case <-done:
			return
		}
	}
}

// keepBusy sends one request after the other over a connection.
func (r *run) keepBusy(l *line, next <-chan *request) {
	for r.sending.Err() == nil {
		select {
		case q, ok := <-next:
			if !ok || r.sending.Err() != nil {
				return
			}
			r.exchange(l, q)
		case <-r.sending.Done():
			return
		}
	}
}

// exchange sends a request and notes what came of it.
func (r *run) exchange(l *line, q *request) {
	r.tried.Add(1)
	var from time.Time
	var a answer
	err := l.open(r.hard)
	if err == nil {
		err = q.renew(time.Now())
	}
	if err == nil {
		from = time.Now()
		if r.Rate > 0 {
			from = r.due(q)
		}
		a, err = l.exchange(q.raw)
	}
	if err != nil {
		r.tally.failed(q.kind, err, r.hard.Err() != nil)
		r.rest(l)
		return
	}
	r.tally.answered(q.kind, a, time.Since(from))
}

// rest is the pause after a failed attempt, which would else be repeated thousands of times a second.
func (r *run) rest(l *line) {
	if r.Rate > 0 || l.isOpen() {
		return
	}
	select {
	case <-time.After(pause):
	case <-r.sending.Done():
	}
}

// hangUp closes all connections; a request that waits for its answer gets an error.
func (r *run) hangUp() {
	for _, l := range r.lines {
		l.close()
	}
}

// answer is what matters of an answer.
type answer struct {
	status  int
	outcome string // "" when it isn't Rollcall that answers
}

func (a answer) accepted() bool {
	return a.status >= http.StatusOK && a.status < http.StatusMultipleChoices
}

// due is when a request is to be sent.
func (r *run) due(q *request) time.Time {
	return r.start.Add(time.Duration(float64(q.number) / r.Rate * float64(time.Second)))
}

// overdue counts the requests that were due and not even tried when the run has ended.
func (r *run) overdue() int64 { return max(0, r.requests()-r.tried.Load()) }

// paced gives out each request when it's due, to whichever connection is free. While none
// is, it waits, and what is due meanwhile is given out late, at once.
func (r *run) paced() <-chan *request {
	out := make(chan *request)
	go func() {
		defer close(out)
		for q := range r.ahead {
			if !r.sleepUntil(r.due(q)) {
				return
			}
			select {
			case out <- q:
			case <-r.sending.Done():
				return
			}
			runtime.Gosched() // who got it writes before this goroutine falls asleep
		}
	}()
	return out
}

// coarse is how late a timer of Go may come on Linux, where it waits in whole milliseconds.
const coarse = 2 * time.Millisecond

// sleepUntil reports false when sending ended first.
func (r *run) sleepUntil(due time.Time) bool {
	if wait := time.Until(due); wait > coarse {
		timer := time.NewTimer(wait - coarse)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.sending.Done():
			return false
		}
	}
	if wait := time.Until(due); wait > 0 {
		precise.Sleep(wait)
	}
	return true
}
