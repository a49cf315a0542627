package load

import (
	"runtime"
	"time"
)

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
		for q := range r.ahead.requests {
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
		preciseSleep(wait)
	}
	return true
}
