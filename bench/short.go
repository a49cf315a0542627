//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/source"
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
	connections = []int{1, 64, 256} // idle; the usual; more than anybody has. In this order: the peak of memory is read after each
	batchSizes  = []int{1, 8, 64, 256, 512}
	poolSizes   = []int{4, 8, 16, 32}
)

const tuned = 64 // connections at which the rivals' pools are tuned

// preparedEvents is how many events the loops without HTTP have at hand.
const preparedEvents = 60_000

func runShort(ctx context.Context, o options, out io.Writer) (err error) {
	began := time.Now()
	p, err := install(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove()) }()
	server, err := startServer(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	s := &stand{options: o, programs: p, dir: server.Dir(), expected: map[string]float64{}}
	if s.mill, err = newMill(); err != nil {
		return err
	}
	if s.database, err = newDatabase(ctx, server, "bench"); err != nil {
		return err
	}
	b := &short{stand: s, results: results{}, out: out}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for round := range o.rounds {
		fmt.Fprintf(out, "round %d of %d, %s\n", round+1, o.rounds, time.Since(began).Round(time.Second))
		if err := b.round(ctx); err != nil {
			return err
		}
	}
	about, err := describe(ctx, s.database, server.Dir())
	if err != nil {
		return err
	}
	text := b.report(about, time.Since(began))
	fmt.Fprint(out, text)
	return writeBetween(o.document, "bench", text)
}

// short is the benchmark that make bench runs.
type short struct {
	*stand
	results    results
	candidates []*candidate
	events     []event.Event
	tuning     []string
	out        io.Writer
}

// prepare makes the events and finds the best pool for each rival.
func (b *short) prepare(ctx context.Context) (err error) {
	if b.events, err = b.mill.events(preparedEvents); err != nil {
		return err
	}
	b.candidates = []*candidate{b.rollcall(nameRollcall, b.programs.dir+"/rollcall.yaml"), b.rival(namePerRequest), b.rival(nameHandler)}
	if b.programs.fastify != "" {
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
	best := 0.0
	var said strings.Builder
	for _, pool := range poolSizes {
		m, err := b.tryPool(ctx, c, pool)
		if err != nil {
			return err
		}
		fmt.Fprintf(&said, " %d: %.0f/s", pool, m.PerSecond)
		if m.PerSecond > best {
			best, c.pool = m.PerSecond, pool
		}
	}
	b.tuning = append(b.tuning, fmt.Sprintf("%s %d (tried%s)", c.name, c.pool, &said))
	fmt.Fprintf(b.out, "pool of %s: %d of%s\n", c.name, c.pool, &said)
	return nil
}

func (b *short) tryPool(ctx context.Context, c *candidate, pool int) (m measured, err error) {
	p, err := c.start(ctx, pool)
	if err != nil {
		return measured{}, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	return b.load(ctx, c, p, tuned)
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
func (b *short) candidate(ctx context.Context, c *candidate) (err error) {
	p, err := c.start(ctx, c.pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, n := range connections {
		m, err := b.load(ctx, c, p, n)
		if err != nil {
			return err
		}
		b.note(fmt.Sprintf("%s/%d", c.name, n), m)
	}
	return nil
}

// reached is the batch that Rollcall has just reached with a number of connections.
func (b *short) reached(connections int) int {
	list := b.results[nameRollcall+"/"+strconv.Itoa(connections)]
	return max(1, int(math.Round(list[len(list)-1].Batch)))
}

func (b *short) note(key string, m measured) {
	b.results[key] = append(b.results[key], m)
	fmt.Fprintf(b.out, "  %-18s %9.0f/s  p50 %8s  p99 %8s  batch %5.1f  peak %4.0f MiB  µs each: PostgreSQL %d, candidate %d, generator %d\n", key, m.PerSecond,
		m.P50.Round(10*time.Microsecond), m.P99.Round(10*time.Microsecond), m.Batch, m.PeakMiB, m.Server.Microseconds(), m.Candidate.Microseconds(), m.Generator.Microseconds())
}

// loops measures Rollcall's statements and the bare upsert at each batch size, one beside
// the other, and both at the sizes that Rollcall has reached. With one committer the first
// size is measured once more: an idle connection waits for one commit, not beside another.
func (b *short) loops(ctx context.Context, sizes []int) error {
	db, err := openRollcall(ctx, configuration, b.database.url, b.mill)
	if err != nil {
		return err
	}
	defer db.Close()
	pool, err := pooled(ctx, b.database.url, committers)
	if err != nil {
		return err
	}
	defer pool.Close()
	l := loop{events: b.events, warm: b.warm / 2, window: b.window * 3 / 5}
	for i, size := range sizes {
		key := strconv.Itoa(size)
		if i >= len(batchSizes) {
			key = "reached/" + strconv.Itoa(connections[1+i-len(batchSizes)])
		}
		l.size, l.committers = size, committers
		l.commit = applying(db)
		if err := b.loop(ctx, nameBare+"/"+key, l); err != nil {
			return err
		}
		l.commit = upserting(pool)
		if err := b.loop(ctx, nameUpsert+"/"+key, l); err != nil {
			return err
		}
	}
	l.size, l.committers, l.commit = 1, 1, applying(db)
	return b.loop(ctx, nameBare+"/alone", l)
}

func (b *short) loop(ctx context.Context, key string, l loop) error {
	if err := b.database.reset(ctx); err != nil {
		return err
	}
	before := b.spent()
	m, err := l.run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	b.spent().note(&m, before)
	b.note(key, m)
	return nil
}

// verifyAndDecode measures what a request costs before it is in the queue.
func (b *short) verifyAndDecode() error {
	src, err := b.mill.source()
	if err != nil {
		return err
	}
	request := b.mill.make(1).at(0)
	header, err := headerOf(request[:b.mill.body])
	if err != nil {
		return err
	}
	r := source.Request{Header: header, Body: request[b.mill.body:], ReceivedAt: time.Now()}
	const times = 10_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for range times {
		if err := src.Verify(r); err != nil {
			return fmt.Errorf("verify a request: %w", err)
		}
		if e := src.Decode(r); e.User == nil {
			return fmt.Errorf("decode a request: %s", e.Reason)
		}
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	b.note("verify+decode", measured{P50: took / times, PerSecond: times / took.Seconds(), Allocated: float64(after.Mallocs-before.Mallocs) / times})
	return nil
}
