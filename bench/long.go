//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rollcall/internal/pgtest/pgserver"
)

// long is what make bench-long runs: parts that take minutes each. The server is as it would
// be, with autovacuum and checkpoints by the clock.
type long struct {
	*stand
	server  *pgserver.Server
	results results
	text    strings.Builder
	out     io.Writer
}

func runLong(ctx context.Context, o options, out io.Writer) (err error) {
	began := time.Now()
	p, err := install(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove()) }()
	server, err := startServer(ctx, map[string]string{"autovacuum": "on", "checkpoint_timeout": "5min"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	l := &long{stand: &stand{options: o, programs: p, dir: server.Dir(), expected: map[string]float64{}}, server: server, results: results{}, out: out}
	if l.mill, err = newMill(); err != nil {
		return err
	}
	if l.database, err = newDatabase(ctx, server, "bench"); err != nil {
		return err
	}
	failed := l.parts(ctx) // what was measured before is not lost
	about, err := describe(ctx, l.database, server.Dir())
	if err != nil {
		return errors.Join(failed, err)
	}
	text := fmt.Sprintf("%s\n`make bench-long`, %s in all.\n\n%s", about, time.Since(began).Round(time.Second), l.text.String())
	fmt.Fprint(out, text)
	return errors.Join(failed, writeBetween(o.document, "bench-long", text))
}

func (l *long) parts(ctx context.Context) error {
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"memory", l.memory}, {"roll", l.largeRoll}, {"targets", l.targets}, {"jobs", l.jobs}} {
		if l.only != "" && l.only != part.name {
			continue
		}
		fmt.Fprintf(l.out, "%s …\n", part.name)
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// segment is how much load is signed at once: a signature is believed for five minutes.
const segment = 20 * time.Second

// memory loads one Rollcall for minutes and looks at its resident memory every second.
func (l *long) memory(ctx context.Context) (err error) {
	c := l.rollcall(nameRollcall, l.file("rollcall.yaml"))
	p, err := c.start(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	resident := watch(watching, p)
	before := l.window
	defer func() { l.window = before }()
	l.window = segment
	var rates []float64
	for began := time.Now(); len(rates) == 0 || time.Since(began) < time.Duration(l.minutes)*time.Minute; {
		m, err := l.load(ctx, c, p, tuned)
		if err != nil {
			return err
		}
		rates = append(rates, m.PerSecond)
		fmt.Fprintf(l.out, "  %s: %.0f/s, resident %.0f MiB\n", time.Since(began).Round(time.Second), m.PerSecond, p.memory("VmRSS"))
	}
	peak := p.memory("VmHWM")
	stop()
	l.sayMemory(<-resident, rates, peak)
	return nil
}

// watch takes the resident memory every second until the context ends.
func watch(ctx context.Context, p *process) <-chan []float64 {
	done := make(chan []float64, 1)
	go func() {
		var seen []float64
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				seen = append(seen, p.memory("VmRSS"))
			case <-ctx.Done():
				done <- seen
				return
			}
		}
	}()
	return done
}

// sayMemory holds the last fifth against the second: in the first it is still growing into
// its work.
func (l *long) sayMemory(resident, rates []float64, peak float64) {
	fifth := max(1, len(resident)/5)
	second, last := median(resident[min(fifth, len(resident)-1):min(2*fifth, len(resident))]), median(resident[len(resident)-fifth:])
	flat, most := goal{bound: 1.10, atMost: true}, goal{bound: 64, atMost: true}
	fmt.Fprintf(&l.text, "### Memory over %d minutes at %d connections\n\n| figure | wanted | measured | |\n|---|---|---|---|\n", l.minutes, tuned)
	fmt.Fprintf(&l.text, "| peak resident, MiB | ≤ 64 | %.0f | %s |\n", peak, most.verdict(peak))
	fmt.Fprintf(&l.text, "| last fifth of the time, of the second fifth | ≤ 1.10 | %.2f (%.0f of %.0f MiB) | %s |\n", last/second, last, second, flat.verdict(last/second))
	fmt.Fprintf(&l.text, "\nThroughput: first part %.0f/s, last part %.0f/s, median %.0f/s.\n\n", rates[0], rates[len(rates)-1], median(rates))
}

func (l *long) file(name string) string { return filepath.Join(l.programs.dir, name) }

// largeRoll alternates between a database with nobody and one with ten million users, in
// the roll and in both tables. New ids fall anywhere among theirs.
func (l *long) largeRoll(ctx context.Context) error {
	large, err := newDatabase(ctx, l.server, "large")
	if err != nil {
		return err
	}
	began := time.Now()
	for part := range 10 {
		if err := large.people(ctx, part*l.million, l.million); err != nil {
			return err
		}
	}
	if err := large.settle(ctx); err != nil {
		return err
	}
	users := 10 * l.million
	fmt.Fprintf(l.out, "  filled with %d users in %s\n", users, time.Since(began).Round(time.Second))
	if err := l.alternate(ctx, large); err != nil {
		return err
	}
	l.sayRoll(users)
	return large.conn.Close(ctx)
}

// alternate measures everything on both databases, one after the other.
func (l *long) alternate(ctx context.Context, large *database) error {
	empty := l.database
	defer func() { l.database, l.mill.ordered = empty, false }()
	for range l.rounds {
		for _, l.mill.ordered = range []bool{true, false} {
			for _, d := range []*database{empty, large} {
				l.database = d
				if err := l.crowd(ctx, d == large); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// crowd measures Rollcall, and the bare upsert at the batch it reached, on a database.
func (l *long) crowd(ctx context.Context, large bool) error {
	key := "empty"
	if large {
		key = "large"
	}
	if !l.mill.ordered {
		key += "/anywhere"
	}
	if err := l.ready(ctx, large); err != nil {
		return err
	}
	m, err := l.serveOnce(ctx)
	if err != nil {
		return err
	}
	l.note(key, m)
	if err := l.ready(ctx, large); err != nil {
		return err
	}
	pool, err := pooled(ctx, l.database.url, committers)
	if err != nil {
		return err
	}
	defer pool.Close()
	events, err := l.mill.events(preparedEvents)
	if err != nil {
		return err
	}
	m, err = loop{events: events, size: max(1, int(m.Batch)), committers: committers, warm: l.warm, window: l.window, commit: upserting(pool)}.run(ctx)
	if err != nil {
		return err
	}
	l.note(key+"/upsert", m)
	return nil
}

// ready empties a database, unless it is the large one.
func (l *long) ready(ctx context.Context, large bool) error {
	if large {
		return l.database.exec(ctx, "checkpoint")
	}
	return l.database.reset(ctx)
}

// serveOnce starts Rollcall for one measurement on tables as they are.
func (l *long) serveOnce(ctx context.Context) (m measured, err error) {
	c := l.rollcall(nameRollcall, l.file("rollcall.yaml"))
	p, err := c.start(ctx, 0)
	if err != nil {
		return measured{}, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	return l.loadOnto(ctx, c, p, tuned)
}

func (l *long) sayRoll(users int) {
	fmt.Fprintf(&l.text, "### A roll of %d users, at %d connections\n\nEach figure is of that with nobody in the roll and the tables. "+
		"A checkpoint comes before each measurement, so that PostgreSQL logs whole pages of what it first touches.\n\n"+
		"| figure | wanted | measured | range | |\n|---|---|---|---|---|\n", users, tuned)
	for _, g := range []goal{
		{what: "throughput, new ids behind all others, as Clerk's are", of: "large", by: "empty", field: perSecond, bound: 0.80},
		{what: "throughput, new ids anywhere among the others", of: "large/anywhere", by: "empty/anywhere", field: perSecond, bound: 0.80},
		{what: "processor time per event of all, new ids behind all others", of: "large", by: "empty", field: totalTime},
		{what: "processor time per event of all, new ids anywhere", of: "large/anywhere", by: "empty/anywhere", field: totalTime},
		{what: "(e), PostgreSQL's own, new ids behind all others", of: "large/upsert", by: "empty/upsert", field: perSecond},
		{what: "(e), PostgreSQL's own, new ids anywhere", of: "large/anywhere/upsert", by: "empty/anywhere/upsert", field: perSecond},
	} {
		l.text.WriteString(l.results.row(g))
	}
	l.text.WriteString("\n| | events/s | p99 ms |\n|---|---:|---:|\n")
	for _, key := range []string{"empty", "large", "empty/anywhere", "large/anywhere"} {
		fmt.Fprintf(&l.text, "| %s | %.0f | %s |\n", key, l.results.median(key, perSecond), millis(l.results.median(key, p99)))
	}
	l.text.WriteString("\n")
}

func (l *long) note(key string, m measured) {
	l.results[key] = append(l.results[key], m)
	fmt.Fprintf(l.out, "  %-24s %9.0f/s  p99 %8s  batch %5.1f\n", key, m.PerSecond, m.P99.Round(10*time.Microsecond), m.Batch)
}

// people puts users into the roll and both tables as a while of webhooks would have.
func (d *database) people(ctx context.Context, from, n int) error {
	for _, sql := range []string{
		`insert into rollcall.users (source, id, version, email, email_verified, phone_verified, username, first_name, last_name, full_name, avatar_url,
			raw_user_meta_data, raw_app_meta_data, created_at, updated_at, is_anonymous, banned)
		select 'clerk', 'user_2' || substr(md5(n::text), 1, 16) || 'RollBench1', 1700000000000000 + n, n || '@example.com', true, false, 'user' || n, 'Ada', 'Example', 'Ada Example',
			'https://img.example.com/ada.png', '{"newsletter": true}', '{"plan": "free"}', now(), clock_timestamp(), false, n < 0
		from generate_series(FROM, TO) n`,
		`insert into public.profiles (id, email, first_name, last_name, role)
		select 'user_2' || substr(md5(n::text), 1, 16) || 'RollBench1', n || '@example.com', 'Ada', 'Example', 'customer' from generate_series(FROM, TO) n`,
		`insert into deadstock.users (id, email, full_name, role, avatar_url)
		select 'user_2' || substr(md5(n::text), 1, 16) || 'RollBench1', n || '@example.com', 'Ada Example', 'free', 'https://img.example.com/ada.png' from generate_series(FROM, TO) n`,
	} {
		if err := d.exec(ctx, strings.NewReplacer("FROM", fmt.Sprint(from+1), "TO", fmt.Sprint(from+n)).Replace(sql)); err != nil {
			return err
		}
	}
	return nil
}

// write puts a file beside the programs and returns its name.
func (l *long) write(name string, text []byte) (string, error) {
	return l.file(name), os.WriteFile(l.file(name), text, 0o600)
}
