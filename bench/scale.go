//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// scale measures what docs/scaling.md reckons with.
type scale struct{ *stand }

// runScale measures one part of what happens to a larger Rollcall.
func runScale(ctx context.Context, st *stand) error {
	s := &scale{st}
	switch s.scale {
	case "replicas":
		return s.replicas(ctx)
	case "committers":
		return s.committers(ctx)
	case "size":
		return s.size(ctx)
	}
	return fmt.Errorf("there is no part %q; write replicas, committers or size", s.scale)
}

// replicas holds two processes on one database against one, alternating.
func (s *scale) replicas(ctx context.Context) error {
	for range s.rounds {
		for _, n := range []int{1, 2} {
			if err := s.withReplicas(ctx, n); err != nil {
				return err
			}
		}
	}
	r := s.results
	for _, n := range connections[1:] {
		one, two := fmt.Sprintf("1/%d", n), fmt.Sprintf("2/%d", n)
		for _, key := range []string{one, two} {
			fmt.Fprintf(s.out, "%s\n", s.said(key))
		}
		fmt.Fprintf(s.out, "two of one at %d: throughput %s, processor time %s (PostgreSQL %s, Rollcall %s), p99 %s\n", n, r.of(two, one, perSecond),
			r.of(two, one, totalTime), r.of(two, one, serverTime), r.of(two, one, ownTime), r.of(two, one, p99))
	}
	return nil
}

// withReplicas measures some replicas with every number of connections.
func (s *scale) withReplicas(ctx context.Context, n int) (err error) {
	var list []*process
	defer func() {
		for _, p := range list {
			err = errors.Join(err, p.stop())
		}
	}()
	for range n {
		p, err := s.start(ctx, s.rollcall(nameRollcall, s.programs.file("rollcall.yaml")))
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	for _, connections := range connections[1:] {
		m, err := s.load(ctx, fmt.Sprintf("%d replicas", n), connections, list...)
		if err != nil {
			return err
		}
		s.results.add(fmt.Sprintf("%d/%d", n, connections), m)
	}
	return nil
}

// committers holds the bare statements with more of them side by side against those with
// two, alternating: what one PostgreSQL has left for more replicas.
func (s *scale) committers(ctx context.Context) error {
	events, err := s.mill.events(preparedEvents)
	if err != nil {
		return err
	}
	counts, sizes := []int{1, committers, 4}, []int{16, 64, 512}
	for range s.rounds {
		for _, size := range sizes {
			for _, n := range counts {
				l := s.loop(events, size)
				l.committers = n
				m, err := s.bare(ctx, configuration, l)
				if err != nil {
					return err
				}
				s.results.add(fmt.Sprintf("%d/%d", n, size), m)
			}
		}
	}
	for _, size := range sizes {
		by := fmt.Sprintf("%d/%d", committers, size)
		for _, n := range counts {
			key := fmt.Sprintf("%d/%d", n, size)
			fmt.Fprintf(s.out, "%s; of two: throughput %s, PostgreSQL's processor time %s\n",
				s.said(key), s.results.of(key, by, perSecond), s.results.of(key, by, serverTime))
		}
	}
	return nil
}

// said is the medians of a key, "how many/of what size".
func (s *scale) said(key string) string {
	r := s.results
	rate := r.median(key, perSecond)
	busy := rate * r.median(key, totalTime) / 1e6 / float64(runtime.NumCPU())
	return fmt.Sprintf("%-6s %6.0f/s, batch %5.1f, p50 %s ms, p99 %s ms, µs each: PostgreSQL %.0f, Rollcall %.0f, generator %.0f; %.0f %% of the processors",
		key, rate, r.median(key, batch), millis(r.median(key, p50)), millis(r.median(key, p99)),
		r.median(key, serverTime), r.median(key, ownTime), r.median(key, generatorTime), busy*100)
}

const (
	sizedUsers = 100_000 // whose bytes are weighed
	logged     = 4_096   // events whose log is weighed
)

// size weighs what a new user writes into the log and leaves on the disk.
func (s *scale) size(ctx context.Context) error {
	for _, size := range []int{1, 16, 64, 256} {
		if err := s.logs(ctx, fmt.Sprintf("empty tables, batch %d", size), size, s.database.reset); err != nil {
			return err
		}
	}
	if err := s.database.reset(ctx); err != nil {
		return err
	}
	const chunk = 20_000
	for range sizedUsers / chunk {
		if _, err := s.apply(ctx, chunk, 256); err != nil {
			return err
		}
	}
	if err := s.weigh(ctx); err != nil {
		return err
	}
	if err := s.logs(ctx, "100,000 users, ids anywhere, just after a checkpoint, batch 64", 64, s.database.settle); err != nil {
		return err
	}
	s.mill.ordered = true
	if err := s.logs(ctx, "100,000 users, ids that grow, just after a checkpoint, batch 64", 64, s.database.settle); err != nil {
		return err
	}
	return s.forget(ctx)
}

// logs prints the log's bytes for each new user, the median of the rounds. Before each round
// the tables are prepared.
func (s *scale) logs(ctx context.Context, what string, size int, prepare func(context.Context) error) error {
	var each []float64
	for range s.rounds {
		if err := prepare(ctx); err != nil {
			return err
		}
		bytes, err := s.apply(ctx, logged, size)
		if err != nil {
			return err
		}
		each = append(each, float64(bytes)/logged)
	}
	fmt.Fprintf(s.out, "log, %s: %.0f bytes each (%.0f … %.0f)\n", what, median(each), slices.Min(each), slices.Max(each))
	return nil
}

// apply commits new users in batches and returns how many bytes the log has grown.
func (s *scale) apply(ctx context.Context, n, size int) (int, error) {
	db, err := openRollcall(ctx, configuration, s.database.url, s.mill)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	events, err := s.mill.events(n)
	if err != nil {
		return 0, err
	}
	const position = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
	before, err := s.database.count(ctx, position)
	if err != nil {
		return 0, err
	}
	l := s.loop(events[:n-n%size], size)
	l.warm, l.window, l.commit = 0, time.Hour, applying(db)
	if _, err := l.run(ctx); err != nil {
		return 0, err
	}
	after, err := s.database.count(ctx, position)
	return after - before, err
}

// weigh prints what each table takes for a user.
func (s *scale) weigh(ctx context.Context) error {
	if err := s.database.settle(ctx); err != nil {
		return err
	}
	for _, table := range []string{"rollcall.users", "rollcall.events", "public.profiles", "deadstock.users"} {
		var users, bytes, indexes int
		sql := fmt.Sprintf("select count(*), pg_total_relation_size('%[1]s'), pg_indexes_size('%[1]s') from %[1]s", table)
		if err := s.database.conn.QueryRow(ctx, sql).Scan(&users, &bytes, &indexes); err != nil {
			return fmt.Errorf("run %.60q: %w", sql, err)
		}
		fmt.Fprintf(s.out, "disk, %s, %d rows: %d bytes each, indexes %d of them\n", table, users, bytes/users, indexes/users)
	}
	body, err := s.database.count(ctx, "select coalesce(avg(pg_column_size(body)), 0)::int from rollcall.events")
	fmt.Fprintf(s.out, "disk, a body as it is kept: %d bytes\n", body)
	return err
}

// forget weighs the events once more, written without bodies: what is left of them when
// their table is no longer growing.
func (s *scale) forget(ctx context.Context) error {
	if err := s.database.exec(ctx, "update rollcall.events set body = null", "vacuum full rollcall.events"); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "without bodies, packed:")
	return s.weigh(ctx)
}
