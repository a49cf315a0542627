//go:build bench

package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

var (
	//go:embed supabase.yaml
	supabaseConfiguration []byte
	//go:embed auth.sql
	authUsers string
)

// moreTargets are the numbers of targets that are compared; the other benchmarks have the first.
var moreTargets = []int{2, 4, 8}

// targets measures Rollcall and its bare statements with more and more tables. What counts
// is that HTTP and batches add nothing to what each further table costs anyway.
func (l *long) targets(ctx context.Context) error {
	for n := 3; n <= slices.Max(moreTargets); n++ {
		if err := l.database.exec(ctx, fmt.Sprintf("create table public.extra%d (like public.profiles including all)", n)); err != nil {
			return err
		}
	}
	for range l.rounds {
		for _, n := range moreTargets {
			if err := l.withTargets(ctx, n); err != nil {
				return err
			}
		}
	}
	l.text.WriteString("### More targets, at 64 connections\n\n(d) runs at the batch that Rollcall has reached. Wanted: Rollcall loses no more by further targets than (d) does.\n\n" +
		"| targets | (a) events/s | batch | (d) events/s | (a) of its own with 2 | (d) of its own with 2 | the one of the other, ≥ 1.00 | |\n|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, n := range moreTargets {
		a, d := fmt.Sprintf("%s/targets/%d", nameRollcall, n), fmt.Sprintf("%s/targets/%d", nameBare, n)
		lossA := l.results.median(a, perSecond) / l.results.median(fmt.Sprintf("%s/targets/2", nameRollcall), perSecond)
		lossD := l.results.median(d, perSecond) / l.results.median(fmt.Sprintf("%s/targets/2", nameBare), perSecond)
		g := goal{bound: 1}
		fmt.Fprintf(&l.text, "| %d | %.0f | %.1f | %.0f | %.2f | %.2f | %.2f | %s |\n", n, l.results.median(a, perSecond), l.results.median(a, batch),
			l.results.median(d, perSecond), lossA, lossD, lossA/lossD, g.verdict(lossA/lossD))
	}
	l.text.WriteString("\n")
	return nil
}

// withTargets measures both once.
func (l *long) withTargets(ctx context.Context, n int) error {
	text := slices.Clone(configuration)
	for i := 3; i <= n; i++ {
		text = append(text, strings.ReplaceAll(extraTarget, "N", fmt.Sprint(i))...)
	}
	file, err := l.write(fmt.Sprintf("targets%d.yaml", n), text)
	if err != nil {
		return err
	}
	if err := l.database.exec(ctx, extraTables); err != nil {
		return err
	}
	m, err := l.once(ctx, l.rollcall(fmt.Sprintf("rollcall with %d targets", n), file))
	if err != nil {
		return err
	}
	l.note(fmt.Sprintf("%s/targets/%d", nameRollcall, n), m)
	events, err := l.mill.events(preparedEvents)
	if err != nil {
		return err
	}
	if err := l.database.exec(ctx, extraTables); err != nil {
		return err
	}
	m, err = l.bare(ctx, text, l.loop(events, max(1, int(m.Batch+0.5))))
	if err != nil {
		return err
	}
	l.note(fmt.Sprintf("%s/targets/%d", nameBare, n), m)
	return nil
}

const extraTarget = `  extraN:
    table: public.extraN
    key: id
    set:
      id: new.id
      email: new.email
    on_insert:
      first_name: new.first_name
      last_name: new.last_name
      role: "'customer'"
    on_delete: delete
`

const extraTables = "truncate public.extra3, public.extra4, public.extra5, public.extra6, public.extra7, public.extra8"

// jobs measures what is done to a million users: the first reconciliation, which applies
// them all, one that finds nothing to do, and the backfill of an emptied table.
func (l *long) jobs(ctx context.Context) error {
	d, err := newDatabase(ctx, l.server, "jobs")
	if err != nil {
		return err
	}
	if err := d.exec(ctx, authUsers+fmt.Sprintf(authPeople, l.million), "vacuum (analyze) auth.users"); err != nil {
		return err
	}
	file, err := l.write("supabase.yaml", supabaseConfiguration)
	if err != nil {
		return err
	}
	fmt.Fprintf(&l.text, "### %d users at once\n\n| | seconds | users/s |\n|---|---:|---:|\n", l.million)
	for _, job := range []struct {
		name, before string
		argv         []string
	}{
		{"first reconciliation: reads auth.users, fills the roll and both tables", "checkpoint", []string{"reconcile", "supabase"}},
		{"reconciliation that finds nothing to do", "vacuum (analyze) " + tables, []string{"reconcile", "supabase"}},
		{"backfill of an emptied table", "truncate public.profiles", []string{"backfill", "profiles"}},
	} {
		took, err := l.job(ctx, d, job.before, append(job.argv, "-c", file))
		if err != nil {
			return err
		}
		l.sayJob(job.name, took)
		if err := d.holds(ctx, l.million); err != nil {
			return err
		}
	}
	return l.bareInsert(ctx, d)
}

func (l *long) sayJob(name string, took time.Duration) {
	fmt.Fprintf(&l.text, "| %s | %.1f | %.0f |\n", name, took.Seconds(), float64(l.million)/took.Seconds())
	fmt.Fprintf(l.out, "  %s: %s\n", name, took.Round(time.Millisecond))
}

// job runs a command of Rollcall's.
func (l *long) job(ctx context.Context, d *database, before string, argv []string) (time.Duration, error) {
	if err := d.exec(ctx, before); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, l.programs.rollcall, argv...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+d.url)
	began := time.Now()
	if output, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("rollcall %s: %w: %s", argv[0], err, output)
	}
	return time.Since(began), nil
}

// bareInsert is what the backfill does, as one statement by hand.
func (l *long) bareInsert(ctx context.Context, d *database) error {
	if err := d.exec(ctx, "truncate public.profiles"); err != nil {
		return err
	}
	began := time.Now()
	err := d.exec(ctx, `insert into public.profiles (id, email, first_name, last_name, role)
		select new.id, new.email, new.first_name, new.last_name, 'customer' from rollcall.users new where new.source = 'supabase' and new.deleted_at is null`)
	if err != nil {
		return err
	}
	l.sayJob("the same as one insert … select by hand", time.Since(began))
	return d.conn.Close(ctx)
}

const authPeople = `insert into auth.users (id, aud, role, email, encrypted_password, email_confirmed_at, raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
select gen_random_uuid(), 'authenticated', 'authenticated', n || '@example.com', repeat('x', 60), now(), '{"provider": "email", "providers": ["email"]}',
  '{"first_name": "Ada", "last_name": "Example"}', now(), now()
from generate_series(1, %d) n;`
