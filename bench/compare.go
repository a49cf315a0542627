//go:build bench

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// runAgainst holds the Rollcall of this tree against another build of it, alternating: what
// a change has brought. The other may be a script that ends in exec, to change its surroundings.
func runAgainst(ctx context.Context, s *stand) error {
	b := &short{stand: s}
	file := b.programs.file("rollcall.yaml")
	this, other := b.rollcall("this", file), b.rollcall("other", file)
	other.argv[0] = b.against
	if b.notify != "" {
		var err error
		if this, err = b.telling(ctx, file); err != nil {
			return err
		}
	}
	order := []*candidate{this, other}
	for range b.rounds {
		slices.Reverse(order) // so that the order favours neither
		for _, c := range order {
			if err := b.candidate(ctx, c); err != nil {
				return err
			}
			if err := b.database.exec(ctx, untold); err != nil {
				return err
			}
		}
	}
	r := b.results
	for _, n := range connections {
		other, this := "other/"+strconv.Itoa(n), "this/"+strconv.Itoa(n)
		t, _ := r.ratio(other, this, totalTime)
		fmt.Fprintf(b.out, "%3d connections: the other has %s of the throughput, %.2f of the processor time per event (%.2f … %.2f: %.0f of %.0f µs), p99 %s of %s ms, batch %.1f of %.1f, peak %.0f of %.0f MiB\n",
			n, r.of(other, this, perSecond), t.median, t.low, t.high, r.median(other, totalTime), r.median(this, totalTime),
			millis(r.median(other, p99)), millis(r.median(this, p99)), r.median(other, batch), r.median(this, batch),
			r.median(other, peak), r.median(this, peak))
	}
	return nil
}

// untold ends notifications, as the end of the last replica that wants them does. What was noted goes, too: serve gives
// up what is above 100,000, and later rounds would pay for it.
const untold = `delete from rollcall.rules; select rollcall.watch_roll('users', true), rollcall.watch_roll('memberships', true);
truncate rollcall.transitions, rollcall.notifications`

// telling is this build with one notification, for which every user counts as new.
func (b *short) telling(ctx context.Context, file string) (*candidate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	told := b.programs.file("notify.yaml")
	text = fmt.Appendf(text, "\nnotify:\n  bench: {on: [%s], channel: bench}\n", b.notify)
	if err := os.WriteFile(told, text, 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	pause := "'infinity'"
	if b.deliver {
		pause = "null"
	}
	return b.rollcall("this", told), b.database.exec(ctx, "insert into rollcall.notifiers (name, since, paused_until) values ('bench', '2000-01-01', "+pause+")")
}

// tried are the batch sizes of a trial.
var tried = []int{1, 16, 64, 256}

// runTry holds Rollcall's statements in a database where some SQL has run against the same
// without it, alternating: a quick way to find out what a change of the tables would bring.
func runTry(ctx context.Context, s *stand) error {
	events, err := s.mill.events(preparedEvents)
	if err != nil {
		return err
	}
	changed, err := newDatabase(ctx, s.server, "tried")
	if err != nil {
		return err
	}
	if err := changed.exec(ctx, s.try); err != nil {
		return err
	}
	databases := map[string]*database{"asis": s.database, "tried": changed}
	for range s.rounds {
		for _, size := range tried {
			for name, d := range databases {
				l := s.loop(events, size)
				l.warm, l.window = s.warm/2, s.window*3/5
				s.database = d
				m, err := s.bare(ctx, configuration, l)
				if err != nil {
					return err
				}
				s.results.add(fmt.Sprint(name, "/", size), m)
			}
		}
	}
	r := s.results
	for _, size := range tried {
		with, without := fmt.Sprint("tried/", size), fmt.Sprint("asis/", size)
		fmt.Fprintf(s.out, "batch %3d: %6.0f/s with it, %6.0f/s as it is: %s; PostgreSQL's processor time %.0f µs of %.0f µs: %s\n", size,
			r.median(with, perSecond), r.median(without, perSecond), r.of(with, without, perSecond),
			r.median(with, serverTime), r.median(without, serverTime), r.of(with, without, serverTime))
	}
	return nil
}
