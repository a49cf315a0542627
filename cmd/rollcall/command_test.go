package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/terminal"
)

// waitingLong is twoSources with statements that wait for as long as a busy machine needs.
var waitingLong = strings.Replace(twoSources, "wait: 3s", "wait: 3s, lock_timeout: 30s, statement_timeout: 30s", 1)

// Ctrl-C: the page under way is finished, the command says so, and the next run goes on.
func TestBackfillInterrupted(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, shopTables)
	c := newCLI(t, waitingLong+shopTargets, url)
	if got := c.run(t.Context(), "migrate"); got.code != cli.ExitFine {
		t.Fatal(got)
	}
	holder, watcher := fixture.At(t, url), fixture.At(t, url) // a transaction sees the activity of its first look only
	holder.Exec("insert into rollcall.users (source, id, version) select 'clerk', 'u' || n, 1 from generate_series(1, 5000) n")
	holder.Exec("begin; update rollcall.users set version = 2 where id = 'u2'") // it holds a page up
	ctx, interrupt := context.WithTimeout(t.Context(), 20*time.Second)
	defer interrupt()
	stopped := make(chan ran)
	go func() { stopped <- c.run(ctx, "backfill", "profiles") }()
	watcher.Await(`select exists (select from pg_stat_activity
		where datname = current_database() and wait_event_type = 'Lock')`, "t")
	interrupt()
	holder.Exec("commit")
	want := "rows of the roll for profiles; run the same command again to continue there"
	if got := <-stopped; got.code != cli.ExitProblems || !strings.Contains(got.log, want) {
		t.Errorf("%s, want %d and %q", got, cli.ExitProblems, want)
	}
	want = "filled profiles: 5,000 rows of the roll visited ("
	if got := c.run(t.Context(), "backfill", "profiles"); got.code != cli.ExitFine || !strings.Contains(got.out, want) {
		t.Errorf("%s, want %q", got, want)
	}
}

// moment runs a command until it ends, or serve for a moment, and returns all that it writes.
func (c commandLine) moment(t *testing.T, args ...string) string {
	t.Helper()
	limit := 20 * time.Second
	if args[0] == "serve" { // the others end by themselves
		limit = 2 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	got := c.run(ctx, args...)
	return got.out + got.log
}

// However a password with specials reaches the configuration, and whatever command reads it:
// nothing that is written holds a piece of it.
func TestCommandsLeakNoPassword(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	commands := [][]string{{"check"}, {"migrate"}, {"serve"}, {"backfill", "profiles"}, {"reconcile", "supabase"}, {"capture", "status"}, {"migrate", "--print"}}
	secretFile := filepath.Join(t.TempDir(), "url")
	for i := range 210 {
		password := make([]byte, 12)
		for j := range password {
			password[j] = "XZQJKxzqjk0123456789@/:?#[]% &=';^\"`|*!{}"[random.IntN([]int{20, 41}[random.IntN(2)])]
		}
		form := []string{"postgres://app:PW@127.0.0.1:1/app", "host=127.0.0.1 port=1 password=PW dbname=app"}[random.IntN(2)]
		text := strings.Replace(form, "PW", string(password), 1)
		yaml, getenv := twoSources+shopTargets, env(text)
		switch i % 3 {
		case 0:
			yaml = strings.Replace(yaml, "${DATABASE_URL}", text, 1)
		case 1:
			must.Do(t, os.WriteFile(secretFile, []byte(text+"\n"), 0o600))
			inner := env("")
			getenv = func(name string) string {
				if name == "DATABASE_URL_FILE" {
					return secretFile
				}
				return inner(name)
			}
		}
		args := commands[i%len(commands)]
		if args[0] == "serve" && i%5 > 0 {
			continue // it may wait for two seconds
		}
		said := commandLine{configFile(t, yaml), getenv}.moment(t, args...)
		if !strings.Contains(said, "database") && !strings.Contains(said, "rollcall.yaml") {
			t.Errorf("%v of %q says nothing: %s", args, text, said)
		}
		for j := range len(password) - 3 {
			piece := string(password[j : j+4])
			if strings.Trim(piece, "0123456789") == "" {
				continue // a moment in the log may have the same digits by chance
			}
			if strings.Contains(said, piece) {
				t.Fatalf("%v: %q of the password in\n%s", args, piece, said)
			}
		}
	}
}

// What serve waits for, and what a command gives up for, comes with its remedy; so do ignored
// parameters, once.
func TestUnreachableDatabaseIsExplained(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	for query, want := range map[string]string{
		"&user=nobody_at_all": `refuses user nobody_at_all: the password is wrong, or there is no such role`,
		"&dbname=nowhere":     `has no database nowhere; create it`,
		"&sslmode=require":    `has no TLS, which sslmode asks for`,
	} {
		query += "&schema=shop&pgbouncer=true"
		c := newCLI(t, twoSources+shopTargets, url+query)
		for _, command := range []string{"serve", "migrate", "check"} {
			said := c.moment(t, command)
			if !strings.Contains(said, want) {
				t.Errorf("%s with %s: want %q in\n%s", command, query, want, said)
			}
			if strings.Count(said, `"parameters":"pgbouncer, schema"`) != 1 || !strings.Contains(said, "each target names its schema") {
				t.Errorf("%s with %s: want the ignored parameters once in\n%s", command, query, said)
			}
		}
	}
}

// The help of every command fits into 80 columns.
func TestHelpIsNarrow(t *testing.T) {
	t.Parallel()
	var all func(*cobra.Command)
	all = func(cmd *cobra.Command) {
		var out bytes.Buffer
		cmd.SetOut(&out)
		must.Do(t, cmd.Help())
		for line := range strings.Lines(out.String()) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > terminal.Width {
				t.Errorf("%s --help: %s", cmd.CommandPath(), line)
			}
		}
		for _, below := range cmd.Commands() {
			all(below)
		}
	}
	all(newRoot(cli.Env{}))
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	info := func(version string, settings ...string) *debug.BuildInfo {
		b := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for i := 0; i < len(settings); i += 2 {
			b.Settings = append(b.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return b
	}
	for _, tt := range []struct {
		release string
		info    *debug.BuildInfo
		want    string
	}{
		{"v1.2.3", info("(devel)", "vcs.revision", "abc"), "v1.2.3"},
		{"", info("v0.0.0-20261127-abcdef"), "v0.0.0-20261127-abcdef"},
		{"", info("(devel)", "vcs.revision", "abc", "vcs.modified", "false"), "abc"},
		{"", info("(devel)", "vcs.revision", "abc", "vcs.modified", "true"), "abc+dirty"},
		{"", info("(devel)"), "unknown"},
		{"", nil, "unknown"},
	} {
		must.Equal(t, versionOf(tt.release, tt.info), tt.want, "version")
	}
}

// At a SIGHUP a serve goes on, with its configuration read again.
func TestHangup(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.hangup <- syscall.SIGHUP
	in.log.await(t, "the configuration is reloaded", 1)
	in.wantReadiness(200)
}

// Of two replays of the same range the second says that it has done nothing, and not that the same command continues.
func TestReplayAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, shopTables)
	c := newCLI(t, waitingLong+shopTargets, url)
	must.Equal(t, c.run(t.Context(), "migrate").code, cli.ExitFine, "migrate")
	holder, watcher := fixture.At(t, url), fixture.At(t, url)
	holder.Exec("begin; lock rollcall.replays in share mode")
	first := make(chan ran)
	go func() { first <- c.run(t.Context(), "replay", "--since", "2h") }()
	watcher.Await(`select exists (select from pg_stat_activity
		where datname = current_database() and wait_event_type = 'Lock')`, "t")
	second := c.run(t.Context(), "replay", "--since", "2h")
	holder.Exec("commit")
	must.Equal(t, second.code, cli.ExitProblems, "exit code of the second")
	must.Contain(t, second.log, "rollcall: another process replays the same events: ", "; wait until it has ended\n")
	must.Lack(t, second.log, "continues")
	must.Equal(t, (<-first).code, cli.ExitFine, "exit code of the first")
}

// An examination that Ctrl-C ends has found nothing out.
func TestExaminationInterrupted(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, shopTables)
	c := newCLI(t, waitingLong+shopTargets, url)
	must.Equal(t, c.run(t.Context(), "migrate").code, cli.ExitFine, "migrate")
	holder, watcher := fixture.At(t, url), fixture.At(t, url)
	for _, command := range []string{"doctor", "status"} {
		holder.Exec("begin; lock rollcall.events")
		ctx, interrupt := context.WithTimeout(t.Context(), 20*time.Second)
		stopped := make(chan ran)
		go func() { stopped <- c.run(ctx, command) }()
		watcher.Await(`select exists (select from pg_stat_activity
			where datname = current_database() and wait_event_type = 'Lock')`, "t")
		interrupt()
		want := ran{cli.ExitProblems, "", "rollcall: interrupted: what was not looked at may be wrong\n"}
		must.Equal(t, (<-stopped).String(), want.String(), command)
		holder.Exec("rollback")
	}
}
