//go:build bench

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"rollcall/bench/machine"
	"rollcall/internal/event"
	"rollcall/internal/pgtest/pgserver"
)

// stand is the place of measurements, and what they have found.
type stand struct {
	options
	programs *programs
	server   *pgserver.Server
	mill     *mill
	database *database
	url      string // of the database, as the candidates have it
	results  results
	expected map[string]float64 // events a second, from earlier measurements, by name
}

// onStand measures beside a server of its own, which has some settings changed.
func onStand(
	ctx context.Context, o options, change map[string]string, measure func(context.Context, *stand) error,
) (err error) {
	s := &stand{options: o, results: results{}, expected: map[string]float64{}}
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if s.programs, err = build(ctx, dir); err != nil {
		return err
	}
	if s.server, err = startServer(ctx, change); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.server.Close()) }()
	if s.mill, err = newMill(); err != nil {
		return err
	}
	if s.database, err = newDatabase(ctx, s.server, "bench"); err != nil {
		return err
	}
	s.url = s.database.url
	return measure(ctx, s)
}

// while runs a candidate as long as it is used.
func (s *stand) while(ctx context.Context, c *candidate, use func(*process) error) (err error) {
	p, err := s.start(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	return use(p)
}

// once starts a candidate for one measurement.
func (s *stand) once(ctx context.Context, c *candidate) (m measured, err error) {
	err = s.while(ctx, c, func(p *process) error {
		m, err = s.load(ctx, c.name, tuned, p)
		return err
	})
	return m, err
}

// guess is assumed of a candidate that has not been measured yet, in events a second.
const guess = 15_000

// load drives a running candidate, or several replicas that each get their part of the connections, and
// checks what was written. The database is reset before.
func (s *stand) load(ctx context.Context, name string, connections int, replicas ...*process) (measured, error) {
	if err := s.database.reset(ctx); err != nil {
		return measured{}, err
	}
	key := name + "/" + strconv.Itoa(connections)
	rate := cmp.Or(s.expected[key]*1.5, guess)
	requests := s.mill.make(int(rate*(s.warm+s.window).Seconds()) + 100)
	var addresses []string
	for _, p := range replicas {
		addresses = append(addresses, p.address)
	}
	e := effort{workers: connections, things: requests.len(), step: 1, warm: s.warm, window: s.window}
	e.worker = sending(requests, addresses)
	runtime.GC()
	batches, events, err := committed(ctx, replicas)
	if err != nil {
		return measured{}, err
	}
	before := s.spent(replicas...)
	m, err := e.measure(ctx)
	if err != nil {
		return measured{}, fmt.Errorf("%s at %d connections: %w", name, connections, err)
	}
	m.cost(s.spent(replicas...), before)
	batchesAfter, eventsAfter, err := committed(ctx, replicas)
	if err != nil {
		return measured{}, err
	}
	if batchesAfter > batches {
		m.Batch = (eventsAfter - events) / (batchesAfter - batches)
	}
	s.expected[key] = max(s.expected[key], m.PerSecond)
	m.PeakMiB = machine.Resident(replicas[0].cmd.Process.Pid, "VmHWM")
	return m, s.database.holds(ctx, m.Committed)
}

// committed is what replicas have committed together.
func committed(ctx context.Context, replicas []*process) (batches, events float64, err error) {
	for _, p := range replicas {
		b, e, err := p.batches(ctx)
		if err != nil {
			return 0, 0, err
		}
		batches, events = batches+b, events+e
	}
	return batches, events, nil
}

// loop is a loop over events as long as load lasts, by as many committers as Rollcall has.
func (s *stand) loop(events []event.Event, size int) loop {
	return loop{events: events, size: size, committers: committers, warm: s.warm, window: s.window}
}

// bare measures the statements of a configuration alone.
func (s *stand) bare(ctx context.Context, yaml []byte, l loop) (measured, error) {
	db, err := openRollcall(ctx, yaml, s.database.url, s.mill)
	if err != nil {
		return measured{}, err
	}
	defer db.Close()
	l.commit = applying(db)
	return s.run(ctx, l)
}

// upserts measures the bare upsert.
func (s *stand) upserts(ctx context.Context, l loop) (measured, error) {
	pool, err := pooled(ctx, s.database.url, committers)
	if err != nil {
		return measured{}, err
	}
	defer pool.Close()
	l.commit = upserting(pool)
	return s.run(ctx, l)
}

// run measures a loop. The database is reset before.
func (s *stand) run(ctx context.Context, l loop) (measured, error) {
	if err := s.database.reset(ctx); err != nil {
		return measured{}, err
	}
	before := s.spent()
	m, err := l.run(ctx)
	if err != nil {
		return measured{}, err
	}
	m.cost(s.spent(), before)
	return m, nil
}

// spent is what the server, the candidate's processes and this one have used so far.
func (s *stand) spent(candidates ...*process) machine.Spent {
	var pids []int
	for _, p := range candidates {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return machine.Now(filepath.Join(s.server.Dir(), "data"), pids)
}

// cost puts what was spent since an earlier moment into a measurement, per event.
func (m *measured) cost(now, before machine.Spent) {
	m.Server, m.Candidate, m.Generator = now.Each(before, m.Committed)
}
