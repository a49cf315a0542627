//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const bouncerRemedy = `install PgBouncer:
  Debian, Ubuntu: apt-get install pgbouncer
  macOS:          brew install pgbouncer
or put the directory of pgbouncer on PATH`

// Bouncer is a running PgBouncer on a free port of 127.0.0.1, before one server.
type Bouncer struct {
	dir  string
	port int
	proc *process
}

// StartBouncer runs PgBouncer before the server of a URL, for the user of the URL.
// The settings are those of pgbouncer.ini: {"pool_mode": "session"}. The caller must Close it.
// The error of a machine without PgBouncer says how to get it.
func StartBouncer(ctx context.Context, server string, settings map[string]string) (*Bouncer, error) {
	program, err := findBouncer()
	if err != nil {
		return nil, err
	}
	a, err := serverAccount() // it refuses to run as root, too
	if err != nil {
		return nil, err
	}
	b := &Bouncer{}
	if b.port, err = FreePort(ctx); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("/tmp", "rollcall-pgbouncer-"); err != nil { // t.TempDir is closed to the account
		return nil, fmt.Errorf("make PgBouncer's directory: %w", err)
	}
	file, err := b.configure(a, server, settings)
	if err == nil {
		cmd := command(context.WithoutCancel(ctx), a, b.dir, program, "-q", file)
		b.proc, err = launch(ctx, cmd, filepath.Join(b.dir, "log"), func() bool {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.address())
			return err == nil && conn.Close() == nil
		})
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func findBouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/opt/homebrew/bin/pgbouncer", "/usr/local/bin/pgbouncer"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", errors.New("find PgBouncer: none on PATH nor in the usual directories\n" + bouncerRemedy)
}

// configure writes the directory's pgbouncer.ini.
func (b *Bouncer) configure(a *account, server string, settings map[string]string) (file string, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("configure PgBouncer: %w", err)
	}
	all := map[string]string{
		"listen_addr": "127.0.0.1", "listen_port": strconv.Itoa(b.port), "unix_socket_dir": "",
		"auth_type": "scram-sha-256", "auth_file": filepath.Join(b.dir, "users"),
		"server_login_retry": "1", "server_tls_sslmode": "disable",
	}
	maps.Copy(all, settings)
	var text strings.Builder
	fmt.Fprintf(&text, "[databases]\n* = host=%s port=%s\n[pgbouncer]\n", u.Hostname(), u.Port())
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s = %s\n", name, all[name])
	}
	file = filepath.Join(b.dir, "pgbouncer.ini")
	password, _ := u.User.Password()
	users := fmt.Sprintf("%q %q\n", u.User.Username(), password)
	err = errors.Join(a.mkdir(b.dir), a.writeFile(file, text.String()), a.writeFile(all["auth_file"], users))
	if err != nil {
		return "", fmt.Errorf("configure PgBouncer: %w", err)
	}
	return file, nil
}

func (b *Bouncer) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// URL is the URL of a database of the server, by way of PgBouncer.
func (b *Bouncer) URL(direct string) string {
	before, rest, _ := strings.Cut(direct, "@")
	_, path, _ := strings.Cut(rest, "/")
	return before + "@" + b.address() + "/" + path
}

// Close ends PgBouncer and all connections through it, and removes its directory.
func (b *Bouncer) Close() error {
	if err := b.proc.end(5*time.Second, syscall.SIGTERM, syscall.SIGKILL); err != nil {
		return err
	}
	return os.RemoveAll(b.dir)
}
