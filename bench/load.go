//go:build bench

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
)

// measured is what one measurement found.
type measured struct {
	PerSecond float64
	P50, P99  time.Duration
	Batch     float64 // events committed together on average; 0 where there are no batches
	PeakMiB   float64 // largest resident memory of the candidate until now; 0 when not known
	Committed int     // acknowledged in all, also before the measured time
	// Server, Candidate and Generator are the processor time of one event, by who took it.
	Server, Candidate, Generator time.Duration
	Allocated                    float64 // allocations, where they were counted
}

// effort is what workers do side by side, each one thing after the other, until the time or the things are
// used up.
type effort struct {
	workers int
	things  int
	step    int           // how many are done at once
	warm    time.Duration // not measured
	window  time.Duration // measured
	// worker makes one: it does the things from a number on. With the context all of them end.
	worker func(ctx context.Context, i int) (do func(from int) error, err error)
}

// measure measures from outside. The rate counts steps. An error of one worker ends the others.
func (e effort) measure(ctx context.Context) (measured, error) {
	u := &underWay{effort: e, begin: time.Now().Add(e.warm)}
	u.last.Store(int64(e.window))
	workers, ctx := errgroup.WithContext(ctx)
	took := make([][]time.Duration, e.workers)
	for i := range e.workers {
		workers.Go(func() error {
			do, err := e.worker(ctx, i)
			if err == nil {
				took[i], err = u.work(do)
			}
			return err
		})
	}
	if err := workers.Wait(); err != nil {
		return measured{}, err
	}
	within := time.Duration(u.last.Load())
	if within < min(100*time.Millisecond, e.window) {
		return measured{}, fmt.Errorf("%d events are too few to measure batches of %d", e.things, e.step)
	}
	m := summary(slices.Concat(took...), within)
	m.Committed = int(u.done.Load())
	return m, nil
}

// underWay is an effort that has begun.
type underWay struct {
	effort
	begin time.Time
	next  atomic.Int64
	done  atomic.Int64 // also before the measured time
	last  atomic.Int64 // nanoseconds after begin at which measuring ends
}

// work returns how long each step took.
func (u *underWay) work(do func(from int) error) ([]time.Duration, error) {
	took := make([]time.Duration, 0, 1<<14)
	for {
		start := time.Now()
		if start.Sub(u.begin) >= u.window {
			return took, nil
		}
		to := int(u.next.Add(int64(u.step)))
		if to > u.things {
			u.last.CompareAndSwap(int64(u.window), int64(start.Sub(u.begin)))
			return took, nil
		}
		if err := do(to - u.step); err != nil {
			return nil, fmt.Errorf("after %d events: %w", u.done.Load(), err)
		}
		u.done.Add(int64(u.step))
		if end := time.Now(); start.After(u.begin) && int64(end.Sub(u.begin)) < u.last.Load() {
			took = append(took, end.Sub(start))
		}
	}
}

// sending makes workers that send requests to some addresses in turn. Each has a connection and waits for its
// answer before the next request. An answer other than 2xx is an error: a candidate must not be fast by refusing.
func sending(requests *requests, addresses []string) func(context.Context, int) (func(int) error, error) {
	return func(ctx context.Context, i int) (func(int) error, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addresses[i%len(addresses)])
		if err != nil {
			return nil, fmt.Errorf("connect to the candidate: %w", err)
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		answers := bufio.NewReader(conn)
		return func(n int) error {
			if _, err := conn.Write(requests.at(n)); err != nil {
				return fmt.Errorf("send a request: %w", err)
			}
			return readAnswer(answers)
		}, nil
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

// committers is how many batches are under way at once: the default of pipeline.Config.
const committers = 2

// commitment commits a batch.
type commitment func(context.Context, []event.Event) error

// loop drives commits of one size without HTTP, signatures or JSON.
type loop struct {
	events     []event.Event
	size       int // events of a commit
	committers int
	warm       time.Duration
	window     time.Duration
	commit     commitment
}

// run measures. A latency is that of a commit; the rate counts events.
func (l loop) run(ctx context.Context) (measured, error) {
	runtime.GC()
	e := effort{workers: l.committers, things: len(l.events), step: l.size, warm: l.warm, window: l.window}
	e.worker = func(ctx context.Context, _ int) (func(int) error, error) {
		return func(from int) error { return l.commit(ctx, l.events[from:from+l.size]) }, nil
	}
	m, err := e.measure(ctx)
	m.PerSecond *= float64(l.size)
	m.Batch = float64(l.size)
	return m, err
}

// applying commits as Rollcall does: the pipeline's committers call exactly this.
func applying(db *postgres.DB) commitment {
	return func(ctx context.Context, events []event.Event) error {
		outcomes, err := db.Roll().Apply(ctx, events)
		if err != nil {
			return err
		}
		for _, o := range outcomes {
			if o != event.Applied {
				return fmt.Errorf("an event of a new user became %s", o)
			}
		}
		return nil
	}
}

// upsertBoth writes the two tables and nothing else, in one statement: the limit that
// PostgreSQL itself sets.
const upsertBoth = `with user_ as (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    as u (id, email, first_name, last_name, full_name, avatar_url)
), profile as (
  insert into public.profiles as t (id, email, first_name, last_name, role)
  select id, email, first_name, last_name, 'customer' from user_
  on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email
)
insert into deadstock.users as t (id, email, full_name, role, avatar_url)
select id, email, coalesce(full_name, ''), 'free', nullif(avatar_url, '') from user_
on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email`

// upserting commits the upserts alone.
func upserting(pool *pgxpool.Pool) commitment {
	return func(ctx context.Context, events []event.Event) error {
		n := len(events)
		id := make([]string, n)
		columns := [5][]*string{}
		for i := range columns {
			columns[i] = make([]*string, n)
		}
		for i := range events {
			u := events[i].User
			id[i] = u.ID
			for c, value := range [5]*string{u.Email, u.FirstName, u.LastName, u.FullName, u.AvatarURL} {
				columns[c][i] = value
			}
		}
		_, err := pool.Exec(ctx, upsertBoth, id, columns[0], columns[1], columns[2], columns[3], columns[4])
		return err
	}
}
