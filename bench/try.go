//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"rollcall/internal/event"
)

// runTry holds Rollcall's statements in a database where some SQL has run against the same
// without it, alternating: a quick way to find out what a change of the tables would bring.
func runTry(ctx context.Context, o options, out io.Writer) (err error) {
	server, err := startServer(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	m, err := newMill()
	if err != nil {
		return err
	}
	events, err := m.events(preparedEvents)
	if err != nil {
		return err
	}
	r := results{}
	databases := map[string]*database{}
	for _, name := range []string{"asis", "tried"} {
		if databases[name], err = newDatabase(ctx, server, name); err != nil {
			return err
		}
	}
	if err := databases["tried"].exec(ctx, o.try); err != nil {
		return err
	}
	t := &trial{options: o, stand: &stand{dir: server.Dir()}, mill: m, events: events, results: r}
	for range o.rounds {
		for _, size := range tried {
			for name, d := range databases {
				if err := t.measure(ctx, d, name, size); err != nil {
					return err
				}
			}
		}
	}
	for _, size := range tried {
		s, _ := r.ratio(fmt.Sprint("tried/", size), fmt.Sprint("asis/", size), perSecond)
		processor, _ := r.ratio(fmt.Sprint("tried/", size), fmt.Sprint("asis/", size), serverTime)
		fmt.Fprintf(out, "batch %3d: %6.0f/s with it, %6.0f/s as it is: %.2f (%.2f … %.2f); PostgreSQL's processor time %.0f µs of %.0f µs: %.2f (%.2f … %.2f)\n", size,
			r.median(fmt.Sprint("tried/", size), perSecond), r.median(fmt.Sprint("asis/", size), perSecond), s.median, s.low, s.high,
			r.median(fmt.Sprint("tried/", size), serverTime), r.median(fmt.Sprint("asis/", size), serverTime), processor.median, processor.low, processor.high)
	}
	return nil
}

// tried are the batch sizes of a trial.
var tried = []int{1, 16, 64, 256}

type trial struct {
	options
	stand   *stand
	mill    *mill
	events  []event.Event
	results results
}

func (t *trial) measure(ctx context.Context, d *database, name string, size int) error {
	if err := d.reset(ctx); err != nil {
		return err
	}
	db, err := openRollcall(ctx, configuration, d.url, t.mill)
	if err != nil {
		return err
	}
	defer db.Close()
	before := t.stand.spent()
	m, err := loop{events: t.events, size: size, committers: committers, warm: t.warm / 2, window: t.window * 3 / 5, commit: applying(db)}.run(ctx)
	if err != nil {
		return err
	}
	t.stand.spent().note(&m, before)
	key := fmt.Sprint(name, "/", size)
	t.results[key] = append(t.results[key], m)
	return nil
}
