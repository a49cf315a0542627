package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// commandLine runs a command until it ends, or for a moment, and returns all that it writes.
func commandLine(t *testing.T, getenv func(string) string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var said journal
	run(ctx, environment{args, getenv, strings.NewReader(""), &said, &said})
	return said.String()
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
			continue // it may wait for a second
		}
		said := commandLine(t, getenv, append(args, "-c", configFile(t, yaml))...)
		if !strings.Contains(said, "database") && !strings.Contains(said, "rollcall.yaml") {
			t.Errorf("%v of %q says nothing: %s", args, text, said)
		}
		for j := range len(password) - 3 {
			if bytes.Contains([]byte(said), password[j:j+4]) {
				t.Fatalf("%v: %q of the password in\n%s", args, password[j:j+4], said)
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
		file := configFile(t, twoSources+shopTargets)
		for _, command := range []string{"serve", "migrate", "check"} {
			said := commandLine(t, env(url+query), command, "-c", file)
			if !strings.Contains(said, want) {
				t.Errorf("%s with %s: want %q in\n%s", command, query, want, said)
			}
			if strings.Count(said, `"parameters":"pgbouncer, schema"`) != 1 || !strings.Contains(said, "each target names its schema") {
				t.Errorf("%s with %s: want the ignored parameters once in\n%s", command, query, said)
			}
		}
	}
}
