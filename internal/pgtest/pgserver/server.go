//go:build unix

// Package pgserver runs a private PostgreSQL server as a child of this process, for the
// demo and for tests. It finds PostgreSQL's programs on the machine or has them downloaded,
// and runs them as another user where we are root. The server ends with its process:
// at once on Linux, elsewhere at the next start by the same user.
package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options say how to run a server. The zero value is right for tests. The directory is a temporary
// one, in memory if there is plenty, TMPDIR isn't set and the server isn't Durable.
type Options struct {
	// Settings are configuration parameters that override ours: {"work_mem": "64MB"}.
	Settings map[string]string
	// Durable makes a commit survive a crash of the machine (fsync), not only one of
	// the server, at the price of speed.
	Durable bool
}

// Server is a running or stopped PostgreSQL server on a free port of 127.0.0.1. Every local
// user reaches the port, so each role needs a password; that of superuser postgres is random.
type Server struct {
	bin      string
	opt      Options
	home     *home
	port     int
	password string   // of postgres
	proc     *process // the last one started
}

// Start finds PostgreSQL, makes a database cluster and returns when the server accepts
// connections. The context bounds the start only. The caller must Close the server. The error
// of a machine without PostgreSQL says how to get it.
func Start(ctx context.Context, opt Options) (*Server, error) {
	a, err := serverAccount()
	if err != nil {
		return nil, err
	}
	bin, err := newFinder(a).find(ctx)
	if err != nil {
		return nil, err
	}
	h, err := openHome(ctx, opt, bin, a)
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, opt: opt, home: h}
	if err := s.boot(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Standby starts a server that follows this one, on a port of its own. This one is started again, for the
// standby begins as a copy of its directory, with its owner. The caller must Close it.
func (s *Server) Standby(ctx context.Context) (_ *Server, err error) {
	if err := s.Stop(); err != nil {
		return nil, err
	}
	h, err := openHome(ctx, s.opt, s.bin, s.home.account)
	if err != nil {
		return nil, err
	}
	standby := &Server{bin: s.bin, opt: s.opt, home: h, password: s.password}
	defer func() {
		if err != nil {
			err = errors.Join(err, standby.Close())
		}
	}()
	if _, err := output(command(ctx, nil, h.dir, "cp", "-a", s.home.data(), h.data())); err != nil {
		return nil, fmt.Errorf("copy the server's directory: %w", err)
	}
	primary := fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=postgres password=%s application_name=standby'\n", s.port, s.password)
	for path, text := range map[string]string{h.hbaPath(): rules, filepath.Join(h.data(), "standby.signal"): "", filepath.Join(h.data(), "postgresql.auto.conf"): primary} {
		if err := h.account.writeFile(path, text); err != nil {
			return nil, err
		}
	}
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	return standby, standby.listen(ctx)
}

// URL returns the address of a database, for pgx and for psql. It holds the password: it
// belongs into no log and no argument of a process.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", s.password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Dir returns the server's directory; its file log holds what the server said.
func (s *Server) Dir() string { return s.home.dir }

// Exited returns a channel that is closed when the process started last has ended,
// by whatever cause.
func (s *Server) Exited() <-chan struct{} { return s.proc.done }

// Stop ends the server as an administrator would: clients are cut off, everything is
// written. The directory stays, for Restart. Stopping a stopped server is no error.
func (s *Server) Stop() error {
	return s.proc.end(20*time.Second, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL)
}

// Kill ends the server as a crash would: nothing is written any more, and the next
// Restart recovers from the log of commits.
func (s *Server) Kill() error { return s.proc.end(10*time.Second, syscall.SIGQUIT, syscall.SIGKILL) }

// Restart starts the server again, on the same port; it stops one that still runs.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.launch(ctx)
}

// Close stops the server and removes its directory.
func (s *Server) Close() error {
	if err := s.Stop(); err != nil {
		return err // removing the files under a running server would hide it
	}
	return s.home.close()
}

// errPortTaken says that another process took the port between our choice and the start.
var errPortTaken = errors.New("the port is taken")

// rules admit every role with its password, standbys too.
const rules = "host all,replication all 127.0.0.1/32 scram-sha-256\n"

func (s *Server) boot(ctx context.Context) error {
	if err := s.initialise(ctx); err != nil {
		return err
	}
	return s.listen(ctx)
}

// listen starts the server on a free port.
func (s *Server) listen(ctx context.Context) (err error) {
	for range 5 {
		if s.port, err = FreePort(ctx); err != nil {
			return err
		}
		if err = s.launch(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// initialise makes the database cluster.
func (s *Server) initialise(ctx context.Context) error {
	s.password = rand.Text()
	a := s.home.account
	if err := errors.Join(a.writeFile(s.home.hbaPath(), rules), a.writeFile(s.home.passwordPath(), s.password)); err != nil {
		return err
	}
	var err error
	// not every system has C.UTF-8; C is the same but for upper and lower case
	for _, locale := range []string{"C.UTF-8", "C"} {
		if err = s.initdb(ctx, locale); err == nil || !strings.Contains(err.Error(), "locale") {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("make the database cluster: %w", err)
	}
	return nil
}

func (s *Server) initdb(ctx context.Context, locale string) error {
	data := s.home.data()
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	if err := s.home.account.mkdir(data); err != nil {
		return err
	}
	argv := []string{
		filepath.Join(s.bin, "initdb"), "--pgdata=" + data, "--username=postgres",
		"--auth=scram-sha-256", "--pwfile=" + s.home.passwordPath(),
		"--encoding=UTF8", "--locale=" + locale, "--no-instructions",
	}
	if !s.opt.Durable {
		argv = append(argv, "--no-sync")
	}
	_, err := output(command(ctx, s.home.account, data, argv...))
	return err
}

// launch starts the server and waits until it accepts connections: it writes that into its pid file,
// where pg_ctl looks, too.
func (s *Server) launch(ctx context.Context) (err error) {
	cmd := command(context.WithoutCancel(ctx), s.home.account, s.home.data(), s.arguments()...)
	pidFile := filepath.Join(s.home.data(), "postmaster.pid")
	s.proc, err = launch(ctx, cmd, s.home.logPath(), func() bool { return saysReady(pidFile, cmd.Process.Pid) })
	return err
}

func (s *Server) arguments() []string {
	settings := map[string]string{"synchronous_commit": "on", "unix_socket_directories": ""}
	if !s.opt.Durable {
		settings["fsync"], settings["full_page_writes"] = "off", "off"
	}
	maps.Copy(settings, s.opt.Settings)
	settings["listen_addresses"], settings["port"] = "127.0.0.1", strconv.Itoa(s.port)
	settings["hba_file"] = s.home.hbaPath()
	argv := []string{filepath.Join(s.bin, "postgres"), "-D", s.home.data()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		argv = append(argv, "-c", name+"="+settings[name])
	}
	return argv
}

func saysReady(pidFile string, pid int) bool {
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 8 || lines[0] != strconv.Itoa(pid) {
		return false
	}
	status := strings.TrimSpace(lines[7])
	return status == "ready" || status == "standby" // a standby can be read
}

// FreePort finds a port of 127.0.0.1 that nothing listens on, for a process that binds it later. It is below the
// ephemeral ports (from 32768 on Linux, 49152 elsewhere), so no connection and no listener on port 0 takes it meanwhile.
func FreePort(ctx context.Context) (int, error) {
	var taken error
	for range 100 {
		port := 20000 + mathrand.IntN(12000) //nolint:gosec // a port is no secret
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		taken = err
	}
	return 0, fmt.Errorf("find a free port: %w", taken)
}
