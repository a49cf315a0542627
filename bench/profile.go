//go:build bench

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// profiled is how long each profile is taken.
const profiled = 10 * time.Second

// runProfile says where the time goes: a profile of Rollcall's processor time at 64
// connections, and what PostgreSQL has spent on each statement under that load, under the
// bare statements at the batch reached and under the bare upsert. It writes to a directory.
func runProfile(ctx context.Context, o options, out io.Writer) (err error) {
	p, err := install(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove()) }()
	build := exec.CommandContext(ctx, "go", "build", "-tags", "bench", "-o", p.rollcall, "./cmd/rollcall")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build Rollcall to be profiled: %w: %s", err, output)
	}
	server, err := startServer(ctx, map[string]string{"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on", "track_io_timing": "on"})
	if err != nil {
		return fmt.Errorf("%w (the profile needs the extension pg_stat_statements)", err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	o.window = profiled
	s := &short{stand: &stand{options: o, programs: p, dir: server.Dir(), expected: map[string]float64{}}, results: results{}, out: out}
	if s.mill, err = newMill(); err != nil {
		return err
	}
	if s.database, err = newDatabase(ctx, server, "bench"); err != nil {
		return err
	}
	if err := s.database.exec(ctx, "create extension pg_stat_statements schema public"); err != nil {
		return err
	}
	return s.profile(ctx)
}

func (b *short) profile(ctx context.Context) error {
	if err := os.Setenv("ROLLCALL_CPU_PROFILE", filepath.Join(b.profileTo, "rollcall.pprof")); err != nil {
		return err
	}
	if err := b.profileServe(ctx); err != nil {
		return err
	}
	if err := b.statements(ctx, "statements-rollcall.txt"); err != nil {
		return err
	}
	var err error
	if b.events, err = b.mill.events(3 * preparedEvents); err != nil {
		return err
	}
	return b.profileLoops(ctx)
}

// profileServe loads Rollcall and has it write a profile meanwhile.
func (b *short) profileServe(ctx context.Context) (err error) {
	c := b.rollcall(nameRollcall, filepath.Join(b.programs.dir, "rollcall.yaml"))
	p, err := c.start(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := b.forget(ctx); err != nil {
		return err
	}
	begin := time.AfterFunc(b.warm, func() { _ = p.cmd.Process.Signal(syscall.SIGUSR1) })
	defer begin.Stop()
	m, err := b.load(ctx, c, p, tuned)
	if err != nil {
		return err
	}
	b.note(fmt.Sprintf("%s/%d", c.name, tuned), m)
	err = p.cmd.Process.Signal(syscall.SIGUSR1)
	time.Sleep(time.Second) // the profile is written behind the signal
	return err
}

// profileLoops runs the loops at the batch that Rollcall has reached.
func (b *short) profileLoops(ctx context.Context) error {
	db, err := openRollcall(ctx, configuration, b.database.url, b.mill)
	if err != nil {
		return err
	}
	defer db.Close()
	pool, err := pooled(ctx, b.database.url, committers)
	if err != nil {
		return err
	}
	defer pool.Close()
	l := loop{events: b.events, committers: committers, warm: b.warm, window: b.window, size: b.reached(tuned)}
	for _, one := range []struct {
		name   string
		commit commitment
	}{{nameBare, applying(db)}, {nameUpsert, upserting(pool)}} {
		if err := b.forget(ctx); err != nil {
			return err
		}
		l.commit = one.commit
		if err := b.loop(ctx, one.name, l); err != nil {
			return err
		}
		if err := b.statements(ctx, "statements-"+one.name+".txt"); err != nil {
			return err
		}
	}
	return nil
}

func (b *short) forget(ctx context.Context) error {
	return b.database.exec(ctx, "select pg_stat_statements_reset(); select pg_stat_reset_shared('wal')")
}

// statements writes what each statement has taken since the last forget.
func (b *short) statements(ctx context.Context, file string) error {
	rows, err := b.database.conn.Query(ctx, `select calls, rows, round(total_exec_time::numeric, 1)::float8, round(total_plan_time::numeric, 1)::float8,
			(total_exec_time / calls)::float8, wal_records, wal_fpi, wal_bytes::bigint, left(regexp_replace(query, '\s+', ' ', 'g'), 90)
		from pg_stat_statements where calls > 20 order by total_exec_time + total_plan_time desc limit 25`)
	if err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString("   calls      rows   exec ms   plan ms   ms/call  wal records   fpi     wal MB  query\n")
	var calls, n, records, fpi, bytes int64
	var execution, planning, each float64
	var query string
	_, err = pgx.ForEachRow(rows, []any{&calls, &n, &execution, &planning, &each, &records, &fpi, &bytes, &query}, func() error {
		fmt.Fprintf(&text, "%8d %9d %9.0f %9.0f %9.3f %12d %5d %10.1f  %s\n", calls, n, execution, planning, each, records, fpi, float64(bytes)/1e6, query)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read pg_stat_statements: %w", err)
	}
	var wal string
	if err := b.database.conn.QueryRow(ctx, `select format('wal: %s records, %s full pages, %s, %s syncs, %s writes', wal_records, wal_fpi,
		pg_size_pretty(wal_bytes), wal_sync, wal_write) from pg_stat_wal`).Scan(&wal); err == nil { // not every version counts these
		text.WriteString(wal + "\n")
	}
	fmt.Fprintf(b.out, "%s\n%s\n", file, text.String())
	return os.WriteFile(filepath.Join(b.profileTo, file), []byte(text.String()), 0o600)
}
