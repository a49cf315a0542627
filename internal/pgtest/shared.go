//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"rollcall/internal/pgtest/pgserver"
)

// All test processes of one user meet in one directory:
//
//	socket  the supervisor listens there; each process that uses the server keeps a connection
//	pid     the supervisor's
//	log     what the supervisor said, if it crashed
//
// The directory is locked by a process while it connects to the supervisor or starts one, and by
// the supervisor when it leaves. Connections and locks end with their process, whatever its end.

const (
	supervisorEnv = "ROLLCALL_PGTEST_SUPERVISE"
	startPatience = 5 * time.Minute // a download of PostgreSQL may be part of it
)

// errMoved says that the directory went away while we waited for its lock or for its supervisor.
var errMoved = errors.New("the directory was removed")

// meetingPlace differs by the PostgreSQL that was chosen: a run on another one must not join the
// server that the last run is about to leave.
func meetingPlace() string {
	root, differs := os.TempDir(), os.Getenv(pgserver.BinEnv)
	if len(root) > 60 { // the path of a socket has at most 103 bytes
		root, differs = "/tmp", differs+root
	}
	name := fmt.Sprintf("rollcall-tests-%d", os.Geteuid())
	if differs != "" {
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(differs)) // never fails
		name += fmt.Sprintf("-%x", hash.Sum32())
	}
	return filepath.Join(root, name)
}

func socket(dir string) *net.UnixAddr {
	return &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unix"}
}

// inUse is our connection to the supervisor. It's never closed, and kept here because one that
// no variable refers to would be closed by the garbage collector.
var inUse net.Conn //nolint:unused // held, not read

// acquire returns the URL of the shared server, started if need be, and keeps it alive
// until this process ends.
func acquire(ctx context.Context) (string, error) {
	for {
		server, err := tryAcquire(ctx, meetingPlace())
		if !errors.Is(err, errMoved) || ctx.Err() != nil {
			return server, err
		}
	}
}

func tryAcquire(ctx context.Context, dir string) (string, error) {
	place, conn, err := join(dir)
	if err != nil {
		return "", err
	}
	inUse = conn
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline)
	said := bufio.NewReader(conn)
	server, err := said.ReadString('\n')
	if strings.HasPrefix(server, "postgres://") {
		return strings.TrimSpace(server), nil
	}
	if server == "" && !isCurrent(place, dir) {
		return "", errMoved // it was leaving
	}
	rest, _ := io.ReadAll(said)
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	return "", fmt.Errorf("share a server: %s%s%s (%w)", server, rest, log, err)
}

// join connects to the supervisor, or starts it, in a directory that is still the same one then.
func join(dir string) (place os.FileInfo, conn *net.UnixConn, err error) {
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = lock.Close() }()
	place, err = lock.Stat()
	if err != nil || !isCurrent(place, dir) {
		return nil, nil, errMoved
	}
	if conn, err = net.DialUnix("unix", nil, socket(dir)); err != nil { // there is none, or it was killed
		conn, err = startSupervisor(dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start the supervisor: %w", err)
	}
	return place, conn, nil
}

func isCurrent(place os.FileInfo, dir string) bool {
	named, err := os.Stat(dir)
	return err == nil && os.SameFile(place, named)
}

// lockDirectory makes the directory, or makes sure that it's ours: what is there decides which
// server and which process we trust. Then it waits for the lock.
func lockDirectory(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("share a server: %w", err)
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMoved
	}
	if err != nil {
		return nil, fmt.Errorf("share a server: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm() != 0o700 {
		return nil, fmt.Errorf("share a server: %s isn't a directory of ours alone; remove it", dir)
	}
	lock, err := pgserver.Lock(dir, syscall.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMoved
	}
	return lock, err
}

// startSupervisor starts this binary again, detached from the terminal and from our standard
// files: `go test` waits until no process has those open any more. It listens already, so that there
// is no moment in which it's started and not seen.
func startSupervisor(dir string) (*net.UnixConn, error) {
	self, errSelf := os.Executable()
	_ = os.Remove(socket(dir).Name) // of one that was killed
	listener, err := net.ListenUnix("unix", socket(dir))
	if err := errors.Join(errSelf, err); err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	defer func() { _ = listener.Close() }()
	handed, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = handed.Close() }()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(context.Background(), self)
	cmd.Args = []string{"rollcall-tests-supervisor"} // what ps shows
	cmd.Env = append(os.Environ(), supervisorEnv+"="+dir)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{handed}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unix", nil, socket(dir))
	return conn, errors.Join(err, cmd.Process.Release())
}

// How long the server stays without users, and how often that is looked at. Between two
// packages of one `go test` there is usually less.
const (
	linger    = 2 * time.Second
	lookEvery = 100 * time.Millisecond
)

// supervise is the life of the supervisor: it runs the shared server until no process has
// used it for a while, or until the server or a signal ends it, and leaves
// nothing behind. It returns the exit code.
func supervise(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer cancel()
	if err := runShared(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// supervisor tells all who connect where the server is, or why there is none.
type supervisor struct {
	dir      string
	listener *net.UnixListener
	greeting string
	users    atomic.Int64
}

func runShared(ctx context.Context, dir string) error {
	handed := os.NewFile(3, "listener") // it came as descriptor 3, and must not reach postgres
	listener, err := net.FileListener(handed)
	if err := errors.Join(err, handed.Close()); err != nil {
		return err
	}
	s := &supervisor{dir: dir}
	s.listener, _ = listener.(*net.UnixListener)
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	server, err := pgserver.Start(ctx, pgserver.Options{Settings: settings()})
	if err != nil {
		return s.refuse(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-server.Exited()
		cancel()
	}()
	s.greeting = server.URL("postgres")
	for {
		s.serve(ctx)
		lock, err := pgserver.Lock(dir, syscall.LOCK_EX) // newcomers wait from here on
		if err != nil {
			return errors.Join(err, server.Close())
		}
		if ctx.Err() != nil || !s.greet(time.Millisecond) {
			return errors.Join(server.Close(), os.RemoveAll(dir))
		}
		_ = lock.Close() // one had come just before
	}
}

// refuse tells why there is no server. Who comes later tries for itself.
func (s *supervisor) refuse(why error) error {
	_, err := pgserver.Lock(s.dir, syscall.LOCK_EX) // until this process ends
	for s.greeting = why.Error(); s.greet(lookEvery); {
		continue
	}
	return errors.Join(why, err, os.RemoveAll(s.dir))
}

// serve greets each process that connects, until none has been connected for a while or the context has ended.
func (s *supervisor) serve(ctx context.Context) {
	for usedAt := time.Now(); time.Since(usedAt) < linger && ctx.Err() == nil; {
		if s.greet(lookEvery) || s.users.Load() > 0 {
			usedAt = time.Now()
		}
	}
}

// greet waits for a newcomer, and reports whether one has come.
func (s *supervisor) greet(patience time.Duration) bool {
	_ = s.listener.SetDeadline(time.Now().Add(patience))
	conn, err := s.listener.Accept()
	if err != nil {
		return false
	}
	_, _ = fmt.Fprintln(conn, s.greeting)
	s.users.Add(1)
	go func() {
		_, _ = io.Copy(io.Discard, conn) // until its process ends
		_ = conn.Close()
		s.users.Add(-1)
	}()
	return true
}
