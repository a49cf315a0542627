package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// Ctrl-C: the page under way is finished, the command says so, and the next run goes on.
func TestBackfillInterrupted(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, shopTables)
	file := configFile(t, twoSources+shopTargets)
	command := func(ctx context.Context, args ...string) (int, string) {
		var said journal
		code := run(ctx, environment{append(args, "-c", file), env(url), strings.NewReader(""), &said, &said})
		return code, said.String()
	}
	if code, said := command(t.Context(), "migrate"); code != 0 {
		t.Fatal(said)
	}
	holder := connect(t, url)
	for _, statement := range []string{
		"insert into rollcall.users (source, id, version) select 'clerk', 'u' || n, 1 from generate_series(1, 5000) n",
		"begin", "update rollcall.users set version = 2 where id = 'u2'", // it holds a page up
	} {
		must.Get(holder.Exec(t.Context(), statement))(t)
	}
	ctx, interrupt := context.WithTimeout(t.Context(), 20*time.Second)
	defer interrupt()
	released := make(chan error)
	watcher := connect(t, url) // a transaction sees the activity of its first look only
	go func() {
		const waiting = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"
		var err error
		for held := false; !held && err == nil; time.Sleep(5 * time.Millisecond) {
			err = watcher.QueryRow(ctx, waiting).Scan(&held)
		}
		interrupt()
		_, failed := holder.Exec(context.Background(), "commit")
		released <- errors.Join(err, failed)
	}()
	code, said := command(ctx, "backfill", "profiles")
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	if want := "users of profiles; the next run goes on from there"; code != exitProblems || !strings.Contains(said, want) {
		t.Errorf("exit code %d, %q, want %d and %q", code, said, exitProblems, want)
	}
	code, said = command(t.Context(), "backfill", "profiles")
	if want := "filled profiles: 5,000 users visited ("; code != 0 || !strings.Contains(said, want) {
		t.Errorf("exit code %d, %q, want %q", code, said, want)
	}
}
