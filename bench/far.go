//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"rollcall/bench/machine"
	"rollcall/bench/page"
	"rollcall/bench/relay"
)

// distances are how long what is sent between a candidate and the database is under way, in each
// direction: within a data centre at most, and between two of a region.
var distances = []time.Duration{500 * time.Microsecond, 2 * time.Millisecond}

// runFar measures the candidates at each distance.
func runFar(ctx context.Context, s *stand) (err error) {
	began := time.Now()
	var all []*short
	for _, delay := range distances {
		url, stop, failed := relay.Process(ctx, s.programs.self, s.database.url, delay)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, stop()) }() //nolint:revive // a relay for each distance, until the end
		at := *s
		at.url, at.results, at.expected = url, results{}, map[string]float64{}
		d := &short{stand: &at, delay: delay}
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
	return page.Write(s.document, "bench-far", text)
}

// reportFar is the generated part of the document about distances.
func reportFar(all []*short, about string, took time.Duration) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n`go run -tags bench ./bench -far`, %d rounds, %s in all; medians of the rounds.\n\n", about, all[0].rounds, took.Round(time.Second))
	for _, d := range all {
		fmt.Fprintf(&text, "### %s in each direction\n\nPools, tuned at %d connections: %s.\n\n| figure | wanted | measured | range | |\n|---|---|---|---|---|\n",
			d.delay, tuned, strings.Join(d.tuning, "; "))
		for _, g := range d.distantGoals() {
			text.WriteString(d.results.row(g))
		}
		text.WriteString("\n")
		d.reportLoads(&text)
		text.WriteString("\n")
	}
	return text.String()
}

// distantGoals are the figures to reach at a distance: bounds are wanted at the first.
func (b *short) distantGoals() []goal {
	wanted := func(bound float64) float64 {
		if b.delay != distances[0] {
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
