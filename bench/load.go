//go:build bench

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// measured is what one measurement found.
type measured struct {
	PerSecond float64
	P50, P99  time.Duration
	Batch     float64 // events committed together on average; 0 where nobody batches
	PeakMiB   float64 // largest resident memory of the candidate until now; 0 when not known
	Committed int     // acknowledged in all, also before the measured time
	// Server, Candidate and Generator are the processor time of one event, by who took it.
	Server, Candidate, Generator time.Duration
	Allocated                    float64 // allocations, where they were counted
}

// traffic is a load: connections that each wait for their answer before the next request.
type traffic struct {
	addresses   []string // of one Rollcall, or of several replicas, taken in turn
	requests    *requests
	connections int
	warm        time.Duration // not measured
	window      time.Duration // measured
}

// drive sends the load, and measures from outside. It ends early when the requests are used
// up. An answer other than 2xx is an error: nobody is to be fast by refusing.
func drive(ctx context.Context, t traffic) (measured, error) {
	d := &driver{traffic: t, begin: time.Now().Add(t.warm)}
	d.end = d.begin.Add(t.window)
	took, err := sideBySide(ctx, t.connections, func(ctx context.Context, i int) ([]time.Duration, error) {
		return d.connection(ctx, t.addresses[i%len(t.addresses)])
	})
	if err != nil {
		return measured{}, err
	}
	m := summary(took, min(t.window, d.lasted()))
	m.Committed = int(d.answered.Load())
	return m, nil
}

// sideBySide runs n workers, which end each other by an error, and returns what all have measured.
func sideBySide(
	ctx context.Context, n int, work func(ctx context.Context, i int) ([]time.Duration, error),
) ([]time.Duration, error) {
	workers, ctx := errgroup.WithContext(ctx)
	took := make([][]time.Duration, n)
	for i := range n {
		workers.Go(func() (err error) {
			took[i], err = work(ctx, i)
			return err
		})
	}
	err := workers.Wait()
	return slices.Concat(took...), err
}

// driver is a load under way.
type driver struct {
	traffic
	begin, end time.Time
	next       atomic.Int64
	answered   atomic.Int64
	usedUp     atomic.Int64 // nanoseconds after begin when there were no more requests
}

func (d *driver) lasted() time.Duration {
	if n := d.usedUp.Load(); n > 0 {
		return time.Duration(n)
	}
	return d.window
}

// connection sends one request after the other, and returns how long each answer took.
func (d *driver) connection(ctx context.Context, address string) ([]time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to the candidate: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	answers := bufio.NewReader(conn)
	took := make([]time.Duration, 0, 1<<14)
	for {
		sent := time.Now()
		n := int(d.next.Add(1)) - 1
		if n >= d.requests.len() {
			d.usedUp.CompareAndSwap(0, int64(sent.Sub(d.begin)))
			return took, nil
		}
		if sent.After(d.end) {
			return took, nil
		}
		if _, err := conn.Write(d.requests.at(n)); err != nil {
			return nil, fmt.Errorf("send a request: %w", err)
		}
		if err := readAnswer(answers); err != nil {
			return nil, fmt.Errorf("after %d answers: %w", d.answered.Load(), err)
		}
		d.answered.Add(1)
		if done := time.Now(); sent.After(d.begin) && done.Before(d.end) {
			took = append(took, done.Sub(sent))
		}
	}
}

// readAnswer reads one answer to its end. Any but 2xx is an error.
func readAnswer(r *bufio.Reader) error {
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("the candidate answered %q: %.300s", answer.Proto+" "+answer.Status, said)
	}
	return nil
}

// summary needs the latencies of everything answered within a time.
func summary(took []time.Duration, within time.Duration) measured {
	if len(took) == 0 || within <= 0 {
		return measured{}
	}
	slices.Sort(took)
	return measured{
		PerSecond: float64(len(took)) / within.Seconds(),
		P50:       took[len(took)/2],
		P99:       took[len(took)*99/100],
	}
}
