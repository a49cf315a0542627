//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// runAgainst holds the Rollcall of this tree against another build of it, alternating: what
// a change has brought. The other may be a script that ends in exec, to change its surroundings.
func runAgainst(ctx context.Context, o options, out io.Writer) (err error) {
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
	b := &short{stand: &stand{options: o, programs: p, dir: server.Dir(), expected: map[string]float64{}}, results: results{}, out: out}
	if b.mill, err = newMill(); err != nil {
		return err
	}
	if b.database, err = newDatabase(ctx, server, "bench"); err != nil {
		return err
	}
	this := p.rollcall
	for range o.rounds {
		for name, binary := range map[string]string{"this": this, "other": o.against} {
			p.rollcall = binary
			if err := b.candidate(ctx, b.rollcall(name, p.dir+"/rollcall.yaml")); err != nil {
				return err
			}
		}
	}
	b.sayAgainst(out)
	return nil
}

func (b *short) sayAgainst(out io.Writer) {
	for _, n := range connections {
		other, this := "other/"+strconv.Itoa(n), "this/"+strconv.Itoa(n)
		s, _ := b.results.ratio(other, this, perSecond)
		t, _ := b.results.ratio(other, this, totalTime)
		fmt.Fprintf(out, "%3d connections: the other has %.2f of the throughput (%.2f … %.2f), %.2f of the processor time per event (%.2f … %.2f: %.0f of %.0f µs), p99 %s of %s ms, batch %.1f of %.1f, peak %.0f of %.0f MiB\n",
			n, s.median, s.low, s.high, t.median, t.low, t.high, b.results.median(other, totalTime), b.results.median(this, totalTime),
			millis(b.results.median(other, p99)), millis(b.results.median(this, p99)), b.results.median(other, batch), b.results.median(this, batch),
			b.results.median(other, peak), b.results.median(this, peak))
	}
}
