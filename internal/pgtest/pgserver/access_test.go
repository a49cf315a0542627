//go:build unix

package pgserver

import (
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/must"
)

// Another local user has no password and is refused, there is no other way in, and nothing that
// others can read holds the password.
func TestOtherLocalUsersAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	u := must.Get(url.Parse(s.URL("postgres")))(t)
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
