package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/terminal"
)

// The demo knows no outcome beforehand; this test does.
func TestDemoOnce(t *testing.T) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w := cli.Env{Args: []string{"demo", "--once"}, Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard}
	if code := run(ctx, w); code != cli.ExitFine {
		t.Fatalf("exit code %d\n%s", code, out.String())
	}
	var outcomes []string
	for _, match := range regexp.MustCompile(`→ (\d+ \w+)`).FindAllStringSubmatch(out.String(), -1) {
		outcomes = append(outcomes, match[1])
	}
	want := "204 announced, 200 refused, 204 applied, 204 applied, 204 applied, 204 applied, 204 applied, 204 duplicate, 204 stale, 204 parked, 204 applied, 204 applied, 204 applied, 204 applied, 204 applied, 204 applied, 204 stale, 204 applied, 204 stale, 401 unverified"
	if got := strings.Join(outcomes, ", "); got != want {
		t.Errorf("outcomes\n got %s\nwant %s", got, want)
	}
	for _, line := range []string{
		"    + 5a3f1e00  Ben         Example    customer  0",                           // new
		"    ~ 5a3f1e00  Benjamin    Example    admin  1",                              // renamed, and what the shop owns is untouched
		"      claims\n      {\"role\": \"authenticated\", \"app_role\": \"admin\"}\n", // what the shop knows, in the token
		"      first_name  role\n      Benjamin    admin\n",                            // one's own row
		"    no row\n", // for another user
		"    ~ 5a3f1e00  ·      Ben Example  free  t",                              // deleted in one application
		"    - 5a3f1e00  Benjamin    Example    admin  1",                          // and gone from the other
		"    + members  …SampleBob  match: the row of another user has the user's", // parked
		"    + …SampleBob  bob@example.com",                                        // and in step again
		"    - members  …SampleBob  match: the row of another user has the user's", //
		"    + …SampleAda  admin  1",                                               // a team of two
		"    ~ …SampleBob  admin  3",                                               // another role, and what the application owns is untouched
		"    - …SampleBob  admin  3",                                               // left
		"    + …SampleBob  member  1",                                              // and joined again
		"    ~ …SampleAda  ada.lovelace@example.com  Ada Lovelace  MEMBER",         // the newest e-mail
		"      …SampleAda  ada.lovelace@example.com  Ada Lovelace          MEMB",   // as before
		"    POST /welcome, verified: appeared …SampleAda ada@example.com",         // told once
		"    POST /welcome, verified: appeared …SampleBob ada.lovelace@example.com",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("not shown: %s\n%s", line, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b[") {
		t.Error("there are colours in a pipe")
	}
	for line := range strings.Lines(out.String()) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > terminal.Width {
			t.Errorf("over %d columns: %s", terminal.Width, line)
		}
	}
}

// startDemo runs the built binary and waits until the story is told.
func startDemo(t *testing.T, binary, dir string) (*exec.Cmd, *journal) {
	t.Helper()
	out := &journal{}
	cmd := exec.Command(binary, "demo")
	cmd.Env = append(cmd.Environ(), "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = out, out
	must.Do(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if !soon(30*time.Second, func() bool { return strings.Contains(out.String(), "/look\n") }) {
		t.Fatalf("the story does not end:\n%s", out)
	}
	return cmd, out
}

// serverPid is the PostgreSQL below a directory; 0 for none.
func serverPid(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "rollcall-postgres-*", "data", "postmaster.pid"))
	if err != nil || len(files) > 1 {
		t.Fatalf("servers %v, error %v", files, err)
	}
	if len(files) == 0 {
		return 0
	}
	text := must.Get(os.ReadFile(files[0]))(t)
	line, _, _ := strings.Cut(string(text), "\n")
	return must.Get(strconv.Atoi(line))(t)
}

func wantNothing(t *testing.T, dir string, pid int) {
	t.Helper()
	if !soon(10*time.Second, func() bool { return syscall.Kill(pid, 0) != nil }) {
		t.Errorf("PostgreSQL %d still runs", pid)
		return
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

// A demo that is interrupted leaves no process and no file; one that was killed is
// cleaned up by the next.
func TestDemoLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	binary, dir := build(t), openDir(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, out := startDemo(t, binary, dir)
		pid := serverPid(t, dir)
		must.Do(t, cmd.Process.Signal(signal))
		if err := cmd.Wait(); err != nil {
			t.Errorf("after %v: %v\n%s", signal, err, out)
		}
		wantNothing(t, dir, pid)
	}
	killed, _ := startDemo(t, binary, dir)
	first := serverPid(t, dir)
	must.Do(t, killed.Process.Kill())
	_ = killed.Wait() // killed, as asked
	next, out := startDemo(t, binary, dir)
	if second := serverPid(t, dir); second == first {
		t.Errorf("the server of the killed demo still runs:\n%s", out)
	}
	second := serverPid(t, dir)
	must.Do(t, next.Process.Signal(syscall.SIGTERM))
	if err := next.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	wantNothing(t, dir, first)
	wantNothing(t, dir, second)
}

// The commands that the demo prints work when they are pasted, and the traffic goes on.
func TestDemoInvites(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	cmd, out := startDemo(t, build(t), dir)
	scripts := regexp.MustCompile(`(?m)^  sh (\S+/(?:join|look))$`).FindAllStringSubmatch(out.String(), -1)
	if len(scripts) != 2 {
		t.Fatalf("%d scripts in %s", len(scripts), out)
	}
	for range 2 { // who pastes it again sees that it is a duplicate
		answer, err := exec.CommandContext(t.Context(), "sh", scripts[0][1]).CombinedOutput()
		must.True(t, err == nil && strings.Contains(string(answer), "Rollcall-Outcome: "), "%s %v", answer, err)
	}
	for _, line := range []string{"you: clerk user.created → 204 applied in ", "you: clerk user.created → 204 duplicate in ", "    + …SampleYou  you@example.com"} {
		if !soon(10*time.Second, func() bool { return strings.Contains(out.String(), line) }) {
			t.Errorf("not shown: %s\n%s", line, out)
		}
	}
	look := string(must.Get(os.ReadFile(scripts[1][1]))(t))
	args := strings.Replace(look, " psql ", " printf '%s\n' psql ", 1)
	seen, err := exec.CommandContext(t.Context(), "sh", "-c", args).CombinedOutput()
	password, _, _ := strings.Cut(strings.TrimPrefix(look, "PGPASSWORD="), " ")
	if err != nil || len(password) < 20 || strings.Contains(string(seen), password) || strings.Contains(out.String(), password) {
		t.Errorf("other users see these arguments: %s %v", seen, err)
	}
	for _, script := range scripts {
		info := must.Get(os.Stat(script[1]))(t)
		must.Equal(t, info.Mode().Perm(), 0o600, script[1])
	}
	db := fixture.At(t, "postgres://postgres:"+password+"@"+regexp.MustCompile(`@(127[^']+)'`).FindStringSubmatch(look)[1])
	db.Await("select exists (select from rollcall.users)", "t")
	traffic := func() bool {
		return strings.Contains(out.String(), "Renamed 1") && strings.Count(out.String(), "/join") >= 2
	}
	if !soon(30*time.Second, traffic) {
		t.Fatalf("no traffic:\n%s", out)
	}
	must.Equal(t, strings.Count(out.String(), "you: "), 2, "requests that the demo takes for others'")
	must.Do(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
