//go:build unix

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest/pgserver"
)

// The quick starts of the README run as they stand, one block after the other, from an empty server. What
// the page shows as output is what is printed. They run with a stand-in for psql and createdb, so that
// the test needs neither, and with the machine's own where it has them.
func TestQuickStarts(t *testing.T) {
	t.Parallel()
	clients := []string{"stand-in"}
	if _, err := exec.LookPath("psql"); err == nil {
		clients = append(clients, "psql")
	}
	readme := string(must.Get(os.ReadFile("../../README.md"))(t))
	for _, section := range []string{"Clerk in five minutes", "Supabase in five minutes"} {
		script, shown := quickStart(t, readme, section)
		for _, client := range clients {
			t.Run(section+" with "+client, func(t *testing.T) {
				t.Parallel()
				printed := trimLines(follow(t, script, client))
				for _, want := range shown {
					must.True(t, strings.Contains(printed, trimLines(want)), "the page shows\n%s\nand this was printed:\n%s", want, printed)
				}
			})
		}
	}
}

var fenced = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// quickStart is a section's commands, and what it shows of their output.
func quickStart(t *testing.T, readme, section string) (script string, shown []string) {
	t.Helper()
	_, text, _ := strings.Cut(readme, "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		switch block[1] {
		case "sh":
			script += block[2]
		case "":
			shown = append(shown, block[2])
		default:
			t.Errorf("%s: no test runs a block %q", section, block[1])
		}
	}
	must.True(t, script != "" && len(shown) > 0, "section %q of the README has no commands, or shows no output", section)
	return script, shown
}

func trimLines(text string) string {
	return regexp.MustCompile(`(?m)[ \t]+$`).ReplaceAllString(text, "")
}

// follow runs a script as a user of a new server would, and returns what it prints.
func follow(t *testing.T, script, client string) string {
	t.Helper()
	server := must.Get(pgserver.Start(t.Context(), pgserver.Options{}))(t)
	t.Cleanup(func() { must.Do(t, server.Close()) })
	address := must.Get(url.Parse(server.URL("postgres")))(t)
	password, _ := address.User.Password()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	shell := "bash"
	if _, err := exec.LookPath(shell); err != nil { // some containers have sh only
		shell = "sh"
	}
	cmd := exec.CommandContext(ctx, shell, "-e", "-u", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+programs(t, client)+":"+os.Getenv("PATH"), "PGHOST="+address.Hostname(),
		"PGPORT="+address.Port(), "PGUSER="+address.User.Username(), "PGPASSWORD="+password, "PGDATABASE=postgres")
	// serve runs in the background: it ends with the shell, whatever has failed
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.CombinedOutput()
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		log, _ := os.ReadFile(filepath.Join(cmd.Dir, "serve.log"))
		t.Fatalf("%v\n%s\nserve.log:\n%s", err, output, log)
	}
	return string(output)
}

// programs is a directory with the programs that a script calls. The quick starts listen at the default
// ports, which this machine may not have free: the program rollcall of the test gives the configuration others,
// in a file of its own, for serve may still read it when the next command begins.
func programs(t *testing.T, client string) string {
	t.Helper()
	dir := t.TempDir()
	scripts := map[string]string{"rollcall": fmt.Sprintf(`cat rollcall.yaml - >ports-$$.yaml <<'YAML'
listen: %s
admin_listen: %s
YAML
ROLLCALL_CONFIG=ports-$$.yaml exec '%s' "$@"`, freeAddress(t), freeAddress(t), build(t))}
	if client == "stand-in" {
		program := must.Get(exec.LookPath(standIn))(t)
		for _, name := range []string{"psql", "createdb"} {
			scripts[name] = fmt.Sprintf(`exec '%s' %s "$@"`, program, name)
		}
	}
	for name, text := range scripts {
		must.Do(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	return dir
}

// freeAddress is one where nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", must.Get(pgserver.FreePort(t.Context()))(t))
}
