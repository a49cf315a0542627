//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"rollcall/bench/machine"
	"rollcall/bench/page"
)

// long is what make bench-long runs: parts that take minutes each.
type long struct {
	*stand
	text strings.Builder
}

// longSettings leave the server as it would be, with autovacuum and checkpoints by the clock.
var longSettings = map[string]string{"autovacuum": "on", "checkpoint_timeout": "5min"}

func runLong(ctx context.Context, s *stand) error {
	began := time.Now()
	l := &long{stand: s}
	failed := l.parts(ctx) // what was measured before is not lost
	about, err := machine.Describe(ctx, l.database.conn, l.server.Dir())
	if err != nil {
		return errors.Join(failed, err)
	}
	text := fmt.Sprintf("%s\n`make bench-long`, %s in all.\n\n%s", about, time.Since(began).Round(time.Second), l.text.String())
	fmt.Fprint(l.out, text)
	return errors.Join(failed, page.Write(l.document, "bench-long", text))
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
func (l *long) memory(ctx context.Context) error {
	before := l.window
	defer func() { l.window = before }()
	l.window = segment
	c := l.rollcall(nameRollcall, l.programs.file("rollcall.yaml"))
	return l.while(ctx, c, func(p *process) error {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		resident := watch(watching, p)
		var rates []float64
		for began := time.Now(); len(rates) == 0 || time.Since(began) < time.Duration(l.minutes)*time.Minute; {
			m, err := l.load(ctx, c.name, tuned, p)
			if err != nil {
				return err
			}
			rates = append(rates, m.PerSecond)
			fmt.Fprintf(l.out, "  %s: %.0f/s, resident %.0f MiB\n", time.Since(began).Round(time.Second), m.PerSecond, machine.Resident(p.cmd.Process.Pid, "VmRSS"))
		}
		peak := machine.Resident(p.cmd.Process.Pid, "VmHWM")
		stop()
		l.sayMemory(<-resident, rates, peak)
		return nil
	})
}

// watch takes the resident memory every second until the context ends.
func watch(ctx context.Context, p *process) <-chan []float64 {
	done := make(chan []float64, 1)
	go func() {
		var seen []float64
		second := time.Tick(time.Second)
		for {
			select {
			case <-second:
				seen = append(seen, machine.Resident(p.cmd.Process.Pid, "VmRSS"))
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

// largeRoll alternates between an empty database and one with ten million users, in
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
	large.keeps = true
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
			for _, l.database = range []*database{empty, large} {
				if err := l.measureOn(ctx); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// measureOn measures Rollcall, and the bare upsert at the batch it reached, on a database.
func (l *long) measureOn(ctx context.Context) error {
	key := "empty"
	if l.database.keeps {
		key = "large"
	}
	if !l.mill.ordered {
		key += "/anywhere"
	}
	m, err := l.once(ctx, l.rollcall(nameRollcall, l.programs.file("rollcall.yaml")))
	if err != nil {
		return err
	}
	l.note(key, m)
	events, err := l.mill.events(preparedEvents)
	if err != nil {
		return err
	}
	m, err = l.upserts(ctx, l.loop(events, max(1, int(m.Batch))))
	if err != nil {
		return err
	}
	l.note(key+"/upsert", m)
	return nil
}

func (l *long) sayRoll(users int) {
	fmt.Fprintf(&l.text, "### A roll of %d users, at %d connections\n\nEach figure is relative to an empty roll and empty tables. "+
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
	l.results.add(key, m)
	fmt.Fprintf(l.out, "  %-24s %9.0f/s  p99 %8s  batch %5.1f\n", key, m.PerSecond, m.P99.Round(10*time.Microsecond), m.Batch)
}

// people puts users into the roll and both tables as a while of webhooks would have.
func (d *database) people(ctx context.Context, from, n int) error {
	parts := strings.NewReplacer("FROM", fmt.Sprint(from+1), "TO", fmt.Sprint(from+n))
	return d.exec(ctx,
		parts.Replace(`insert into rollcall.users (source, id, version, email, email_verified, phone_verified, username, first_name, last_name, full_name, avatar_url,
			raw_user_meta_data, raw_app_meta_data, created_at, updated_at, is_anonymous, banned)
		select 'clerk', 'user_2' || substr(md5(n::text), 1, 16) || 'RollBench1', 1700000000000000 + n, n || '@example.com', true, false, 'user' || n, 'Ada', 'Example', 'Ada Example',
			'https://img.example.com/ada.png', '{"newsletter": true}', '{"plan": "free"}', now(), clock_timestamp(), false, n < 0
		from generate_series(FROM, TO) n`),
		parts.Replace(`insert into public.profiles (id, email, first_name, last_name, role)
		select 'user_2' || substr(md5(n::text), 1, 16) || 'RollBench1', n || '@example.com', 'Ada', 'Example', 'customer' from generate_series(FROM, TO) n`),
		parts.Replace(`insert into deadstock.users (id, email, full_name, role, avatar_url)
		select 'user_2' || substr(md5(n::text), 1, 16) || 'RollBench1', n || '@example.com', 'Ada Example', 'free', 'https://img.example.com/ada.png' from generate_series(FROM, TO) n`),
	)
}

// write puts a file beside the programs and returns its name.
func (l *long) write(name string, text []byte) (string, error) {
	return l.programs.file(name), os.WriteFile(l.programs.file(name), text, 0o600)
}
