//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"rollcall/bench/machine"
	"rollcall/bench/relay"
)

// distances are how long what is sent between a candidate and the database is under way, in each
// direction: within a data centre at most, and between two of a region.
var distances = []time.Duration{500 * time.Microsecond, 2 * time.Millisecond}

// distant measures the candidates at one distance.
type distant struct {
	*short
	delay time.Duration
}

// runFar measures the candidates at each distance.
func runFar(ctx context.Context, s *stand) (err error) {
	began := time.Now()
	var all []*distant
	for _, delay := range distances {
		url, stop, failed := s.startRelay(ctx, delay)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, stop()) }() //nolint:revive // a relay for each distance, until the end
		at := *s
		at.url, at.results, at.expected = url, results{}, map[string]float64{}
		d := &distant{&short{stand: &at}, delay}
		fmt.Fprintf(d.out, "%s away\n", delay)
		if err := d.prepare(ctx); err != nil {
			return err
		}
		all = append(all, d)
	}
	for round := range s.rounds {
		for _, d := range all {
			fmt.Fprintf(s.out, "round %d of %d, %s away, %s\n", round+1, s.rounds, d.delay, time.Since(began).Round(time.Second))
			for _, c := range d.candidates {
				if err := d.candidate(ctx, c); err != nil {
					return err
				}
			}
		}
	}
	about, err := machine.Describe(ctx, s.database.conn, s.server.Dir())
	if err != nil {
		return err
	}
	text := reportFar(all, about, time.Since(began))
	fmt.Fprint(s.out, text)
	return writeBetween(s.document, "bench-far", text)
}

// relayThreads let each connection of a relay sleep in a thread of its own: one that sleeps to within
// microseconds holds a processor of the Go scheduler for a while.
const relayThreads = 512

// startRelay runs this program again, as a relay before the database, and returns the URL through it.
func (s *stand) startRelay(ctx context.Context, delay time.Duration) (address string, stop func() error, err error) {
	cmd := exec.CommandContext(ctx, s.programs.self, "relay", delay.String())
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.database.url, fmt.Sprint("GOMAXPROCS=", relayThreads))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // the relay ends when it is closed, also by the end of this process
	if err != nil {
		return "", nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start a relay: %w", err)
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	if _, err := fmt.Fscanln(said, &address); err != nil {
		return "", nil, errors.Join(fmt.Errorf("read the relay's address: %w", err), stop())
	}
	return address, stop, nil
}

// runRelay is a relay until its standard input ends; it prints the database's URL through it.
func runRelay(ctx context.Context, args []string, out io.Writer) error {
	delay, err := time.ParseDuration(strings.Join(args, " "))
	if err != nil {
		return err
	}
	r, url, err := relay.Database(os.Getenv("DATABASE_URL"), delay)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	fmt.Fprintln(out, url)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	return err
}

// reportFar is the generated part of the document about distances.
func reportFar(all []*distant, about string, took time.Duration) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n`go run -tags bench ./bench -far`, %d rounds, %s in all; medians of the rounds.\n\n", about, all[0].rounds, took.Round(time.Second))
	for _, d := range all {
		fmt.Fprintf(&text, "### %s in each direction\n\nPools, tuned at %d connections: %s.\n\n| figure | wanted | measured | range | |\n|---|---|---|---|---|\n",
			d.delay, tuned, strings.Join(d.tuning, "; "))
		for _, g := range d.goals() {
			text.WriteString(d.results.row(g))
		}
		text.WriteString("\n")
		d.reportLoads(&text)
		text.WriteString("\n")
	}
	return text.String()
}

// goals are the figures to reach at a distance: bounds are wanted at the first.
func (d *distant) goals() []goal {
	wanted := func(bound float64) float64 {
		if d.delay != distances[0] {
			return 0
		}
		return bound
	}
	var list []goal
	for _, other := range []string{nameHandler, nameFastify} {
		for _, at := range []struct {
			connections int
			throughput  float64
		}{{1, 2}, {64, 8}, {256, 10}} {
			of, by := fmt.Sprint(nameRollcall, "/", at.connections), fmt.Sprint(other, "/", at.connections)
			list = append(list, goal{
				what: fmt.Sprintf("throughput, connections: %d, of %s", at.connections, letter(titles[other])),
				of:   of, by: by, field: perSecond, bound: wanted(at.throughput),
			})
		}
		list = append(list, goal{
			what: "p99 at 64 connections, of " + letter(titles[other]),
			of:   nameRollcall + "/64", by: other + "/64", field: p99, bound: wanted(1.0 / 3), atMost: true,
		})
	}
	return list
}
