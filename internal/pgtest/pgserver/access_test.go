//go:build unix

package pgserver

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// wantPasswords looks at a server as another local user: who has no password is refused, there is
// no other way in, and nothing that others can read holds the password.
func wantPasswords(t *testing.T, s *Server) {
	t.Helper()
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	mustQuery(t, s, "SELECT 'x'") // the password is right
	for _, user := range []*url.Userinfo{url.User("postgres"), url.UserPassword("postgres", "guess"), url.User(strings.Repeat("a", 8))} {
		u.User = user
		conn, err := pgx.Connect(t.Context(), u.String())
		if err == nil {
			_ = conn.Close(t.Context())
		}
		if refusal := (*pgconn.PgError)(nil); !errors.As(err, &refusal) || refusal.Code != "28P01" {
			t.Errorf("as %s without the password: got %v, want 28P01", user.Username(), err)
		}
	}
	if sockets := mustQuery(t, s, "SELECT current_setting('unix_socket_directories')"); sockets != "" {
		t.Errorf("there is a socket in %s", sockets)
	}
	if args := commandLine(s.proc.cmd.Process.Pid); password == "" || strings.Contains(args, password) {
		t.Errorf("the arguments of the server are %s", args)
	}
	for _, file := range []string{s.home.hbaPath(), s.home.passwordPath(), s.home.data()} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v; want it closed to others", file, info.Mode(), err)
		}
	}
	if said, err := os.ReadFile(s.home.logPath()); err != nil || strings.Contains(string(said), password) {
		t.Errorf("the log holds the password, or %v", err)
	}
}

func TestOtherLocalUsersAreRefused(t *testing.T) {
	t.Parallel()
	wantPasswords(t, start(t, Options{}))
}

// A directory that an earlier version left has no password and lets everybody in. It keeps its
// databases and is closed.
func TestOldDirectoryIsClosed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "server")
	old := start(t, Options{Dir: dir})
	for _, sql := range []string{"CREATE TABLE kept AS SELECT 'kept'::text AS word", "ALTER ROLE postgres PASSWORD NULL"} {
		conn, err := pgx.Connect(t.Context(), old.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close(t.Context())
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	trust := os.WriteFile(filepath.Join(dir, "data", "pg_hba.conf"), []byte("host all all 127.0.0.1/32 trust\n"), 0o600)
	if err := errors.Join(trust, os.Remove(old.home.passwordPath()), os.Remove(old.home.hbaPath())); err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{Dir: dir})
	wantPasswords(t, s)
	if got := mustQuery(t, s, "SELECT word FROM kept"); got != "kept" {
		t.Errorf("the old database holds %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, Options{Dir: dir}) // the password is kept
	if before, now := s.password, again.password; before != now {
		t.Error("a later start has another password")
	}
	wantPasswords(t, again)
}
