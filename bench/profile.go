//go:build bench

package main

import (
	"context"
	"fmt"
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

// profileSettings have PostgreSQL count what each statement takes.
var profileSettings = map[string]string{
	"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on", "track_io_timing": "on",
}

// runProfile says where the time goes: a profile of Rollcall's processor time at 64
// connections, and what PostgreSQL has spent on each statement under that load, under the
// bare statements at the batch reached and under the bare upsert. It writes to a directory.
func runProfile(ctx context.Context, s *stand) error {
	build := exec.CommandContext(ctx, "go", "build", "-tags", "bench", "-o", s.programs.rollcall, "./cmd/rollcall")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build Rollcall to be profiled: %w: %s", err, output)
	}
	s.window = profiled
	if err := s.database.exec(ctx, "create extension pg_stat_statements schema public"); err != nil {
		return err
	}
	if err := os.Setenv("ROLLCALL_CPU_PROFILE", filepath.Join(s.profileTo, "rollcall.pprof")); err != nil {
		return err
	}
	b := &short{stand: s}
	if err := b.profileServe(ctx); err != nil {
		return err
	}
	if err := b.statements(ctx, "statements-rollcall.txt"); err != nil {
		return err
	}
	events, err := b.mill.events(3 * preparedEvents)
	if err != nil {
		return err
	}
	for _, name := range []string{nameBare, nameUpsert} {
		if err := b.forget(ctx); err != nil {
			return err
		}
		if err := b.noteLoop(ctx, name, b.loop(events, b.reached(tuned))); err != nil {
			return err
		}
		if err := b.statements(ctx, "statements-"+name+".txt"); err != nil {
			return err
		}
	}
	return nil
}

// profileServe loads Rollcall and has it write a profile meanwhile.
func (b *short) profileServe(ctx context.Context) error {
	c := b.rollcall(nameRollcall, b.programs.file("rollcall.yaml"))
	return b.while(ctx, c, func(p *process) error {
		if err := b.forget(ctx); err != nil {
			return err
		}
		begin := time.AfterFunc(b.warm, func() { _ = p.cmd.Process.Signal(syscall.SIGUSR1) })
		defer begin.Stop()
		m, err := b.load(ctx, c.name, tuned, p)
		if err != nil {
			return err
		}
		b.note(fmt.Sprintf("%s/%d", c.name, tuned), m)
		err = p.cmd.Process.Signal(syscall.SIGUSR1)
		time.Sleep(time.Second) // the profile is written behind the signal
		return err
	})
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
