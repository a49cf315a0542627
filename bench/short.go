//go:build bench

package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"rollcall/bench/machine"
	"rollcall/bench/page"
	"rollcall/internal/event"
)

// The names of what is measured.
const (
	nameRollcall   = "rollcall"
	namePerRequest = "per-request"
	nameHandler    = "handler"
	nameFastify    = "fastify"
	nameBare       = "bare"
	nameUpsert     = "upsert"
)

var (
	connections = []int{1, 64, 256} // idle; the usual; more than the pools have. In this order: the peak of memory is read after each
	batchSizes  = []int{1, 8, 64, 256, 512}
	poolSizes   = []int{4, 8, 16, 32}
)

const tuned = 64 // connections at which the rivals' pools are tuned

// preparedEvents is how many events the loops without HTTP have at hand.
const preparedEvents = 150_000

// runShort is the benchmark that make bench runs.
func runShort(ctx context.Context, s *stand) error {
	began := time.Now()
	b := &short{stand: s}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for round := range b.rounds {
		fmt.Fprintf(b.out, "round %d of %d, %s\n", round+1, b.rounds, time.Since(began).Round(time.Second))
		if err := b.round(ctx); err != nil {
			return err
		}
	}
	about, err := machine.Describe(ctx, b.database.conn, b.server.Dir())
	if err != nil {
		return err
	}
	text := b.report(about, time.Since(began))
	fmt.Fprint(b.out, text)
	return page.Write(b.document, "bench", text)
}

// short measures each candidate with each number of connections, and the statements alone.
type short struct {
	*stand
	candidates []*candidate
	events     []event.Event
	tuning     []string
	delay      time.Duration // to the database, in each direction
}

// prepare makes the events and finds the best pool for each rival.
func (b *short) prepare(ctx context.Context) (err error) {
	if b.events, err = b.mill.events(preparedEvents); err != nil {
		return err
	}
	file := b.programs.file("rollcall.yaml")
	b.candidates = []*candidate{b.rollcall(nameRollcall, file), b.rival(namePerRequest), b.rival(nameHandler)}
	if err := b.programs.installFastify(ctx); err != nil {
		b.programs.without = err.Error()
	} else {
		b.candidates = append(b.candidates, b.fastify())
	}
	for _, c := range b.candidates[1:] {
		if err := b.tune(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// tune keeps the pool with which a rival does the most.
func (b *short) tune(ctx context.Context, c *candidate) error {
	best, most := 0, 0.0
	var said strings.Builder
	for _, c.pool = range poolSizes {
		m, err := b.once(ctx, c)
		if err != nil {
			return err
		}
		fmt.Fprintf(&said, " %d: %.0f/s", c.pool, m.PerSecond)
		if m.PerSecond > most {
			best, most = c.pool, m.PerSecond
		}
	}
	c.pool = best
	b.tuning = append(b.tuning, fmt.Sprintf("%s %d (tried%s)", c.name, c.pool, &said))
	fmt.Fprintf(b.out, "pool of %s: %d of%s\n", c.name, c.pool, &said)
	return nil
}

// round measures everything once, one after the other.
func (b *short) round(ctx context.Context) error {
	for _, c := range b.candidates {
		if err := b.candidate(ctx, c); err != nil {
			return err
		}
	}
	sizes := batchSizes
	for _, n := range connections[1:] {
		sizes = append(sizes[:len(sizes):len(sizes)], b.reached(n))
	}
	if err := b.loops(ctx, sizes); err != nil {
		return err
	}
	return b.verifyAndDecode()
}

// candidate measures one that listens, with each number of connections.
func (b *short) candidate(ctx context.Context, c *candidate) error {
	return b.while(ctx, c, func(p *process) error {
		for _, n := range connections {
			m, err := b.load(ctx, c.name, n, p)
			if err != nil {
				return err
			}
			b.note(fmt.Sprintf("%s/%d", c.name, n), m)
		}
		return nil
	})
}

// reached is the batch that Rollcall has just reached with a number of connections.
func (b *short) reached(connections int) int {
	list := b.results[nameRollcall+"/"+strconv.Itoa(connections)]
	return max(1, int(math.Round(list[len(list)-1].Batch)))
}

func (b *short) note(key string, m measured) {
	b.results.add(key, m)
	fmt.Fprintf(b.out, "  %-18s %9.0f/s  p50 %8s  p99 %8s  batch %5.1f  peak %4.0f MiB  µs each: PostgreSQL %d, candidate %d, generator %d\n", key, m.PerSecond,
		m.P50.Round(10*time.Microsecond), m.P99.Round(10*time.Microsecond), m.Batch, m.PeakMiB, m.Server.Microseconds(), m.Candidate.Microseconds(), m.Generator.Microseconds())
}

// loops measures Rollcall's statements and the bare upsert at each batch size, one beside
// the other, and both at the sizes that Rollcall has reached. With one committer the first
// size is measured once more: an idle connection waits for one commit, not beside another.
func (b *short) loops(ctx context.Context, sizes []int) error {
	l := b.loop(b.events, 0)
	l.warm, l.window = b.warm/2, b.window*3/5
	for i, size := range sizes {
		key := strconv.Itoa(size)
		if i >= len(batchSizes) {
			key = "reached/" + strconv.Itoa(connections[1+i-len(batchSizes)])
		}
		l.size = size
		if err := b.noteLoop(ctx, nameBare+"/"+key, l); err != nil {
			return err
		}
		if err := b.noteLoop(ctx, nameUpsert+"/"+key, l); err != nil {
			return err
		}
	}
	l.size, l.committers = 1, 1
	return b.noteLoop(ctx, nameBare+"/alone", l)
}

// noteLoop measures what a key begins with.
func (b *short) noteLoop(ctx context.Context, key string, l loop) (err error) {
	var m measured
	if strings.HasPrefix(key, nameBare) {
		m, err = b.bare(ctx, configuration, l)
	} else {
		m, err = b.upserts(ctx, l)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	b.note(key, m)
	return nil
}

// verifyAndDecode measures what a request costs before it is in the queue.
func (b *short) verifyAndDecode() error {
	r, err := b.mill.received(b.mill.make(1).at(0))
	if err != nil {
		return err
	}
	const times = 10_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for range times {
		if err := b.mill.source.Verify(r); err != nil {
			return fmt.Errorf("verify a request: %w", err)
		}
		if e := b.mill.source.Decode(r); e.User == nil {
			return fmt.Errorf("decode a request: %s", e.Reason)
		}
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	b.note("verify+decode", measured{P50: took / times, PerSecond: times / took.Seconds(), Allocated: float64(after.Mallocs-before.Mallocs) / times})
	return nil
}
