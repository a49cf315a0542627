//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rollcall/internal/pgtest/flock"
	"rollcall/internal/pgtest/pgserver"
)

// All test processes of one user meet in one directory:
//
//	users   a share of its lock is held by each process that uses the server
//	start   locked by the process that looks for a server and, if needed, starts it
//	owner   locked by the supervisor as long as it lives
//	url     written by the supervisor when the server is ready
//	error   written by the supervisor instead when there will be none
//	log     what the supervisor said, if it crashed
//
// Who holds a share of users keeps the supervisor alive, and so the server and the
// directory: it goes only with users locked exclusively. Locks end with their process,
// so no way of dying leaves one behind.

const (
	supervisorEnv = "ROLLCALL_PGTEST_SUPERVISE"
	startPatience = 5 * time.Minute // a download of PostgreSQL may be part of it
	poll          = 10 * time.Millisecond
)

// errMoved says that the directory went away while we waited for one of its locks.
var errMoved = errors.New("the directory was removed")

// meetingPlace differs by the PostgreSQL that was chosen: a run on another one must not join the
// server that the last run is about to leave.
func meetingPlace() string {
	name := "rollcall-pgtest-" + strconv.Itoa(os.Geteuid())
	if dir := os.Getenv(pgserver.BinEnv); dir != "" {
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(dir)) // never fails
		name += fmt.Sprintf("-%x", hash.Sum32())
	}
	return filepath.Join(os.TempDir(), name)
}

// inUse is our share of the users lock. It's never closed, and kept here because a file
// nobody refers to would be closed by the garbage collector.
var inUse *flock.File //nolint:unused // held, not read

// acquire returns the URL of the shared server, started if need be, and keeps it alive
// until this process ends.
func acquire(ctx context.Context) (string, error) {
	for {
		users, server, err := tryAcquire(ctx, meetingPlace())
		if err == nil {
			inUse = users
			return server, nil
		}
		if !errors.Is(err, errMoved) || ctx.Err() != nil {
			return "", err
		}
	}
}

func tryAcquire(ctx context.Context, dir string) (*flock.File, string, error) {
	if err := ownDirectory(dir); err != nil {
		return nil, "", err
	}
	users, err := openLock(dir, "users")
	if err != nil {
		return nil, "", err
	}
	server, err := join(ctx, dir, users)
	if err != nil {
		return nil, "", errors.Join(err, users.Close())
	}
	return users, server, nil
}

// ownDirectory makes the directory, or makes sure that it's ours: what is written there
// decides which server and which process we trust.
func ownDirectory(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("share a server: %w", err)
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("share a server: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("share a server: %s isn't a directory of ours alone; remove it", dir)
	}
	return nil
}

// openLock opens a lock of the meeting place, which may go away at that very moment.
func openLock(dir, name string) (*flock.File, error) {
	lock, err := flock.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMoved
	}
	return lock, err
}

// join takes a share of the lock, then finds the server or starts it.
func join(ctx context.Context, dir string, users *flock.File) (string, error) {
	if err := users.Shared(); err != nil { // waits for a supervisor that is leaving
		return "", err
	}
	start, err := openLock(dir, "start")
	if err != nil {
		return "", err
	}
	defer func() { _ = start.Close() }()
	if err := start.Exclusive(); err != nil { // waits for somebody who starts the server
		return "", err
	}
	if !users.Current() || !start.Current() {
		return "", errMoved
	}
	if err := ensureSupervisor(dir); err != nil {
		return "", err
	}
	server, err := awaitServer(ctx, dir)
	if err != nil {
		// others who wait here find the directory gone and start over, each to be told
		// for itself
		return "", errors.Join(err, removeDirectory(dir))
	}
	return server, nil
}

// ensureSupervisor starts a supervisor unless one is alive. The lock of owner is taken
// here and handed to it, so there is no moment in which it's started and not seen.
func ensureSupervisor(dir string) error {
	owner, err := flock.Open(filepath.Join(dir, "owner"))
	if err != nil {
		return err
	}
	defer func() { _ = owner.Close() }()
	if free, err := owner.TryExclusive(); err != nil || !free {
		return err
	}
	for _, name := range []string{"url", "error"} { // of one that was killed
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("share a server: %w", err)
		}
	}
	return startSupervisor(dir, owner.Fd())
}

// startSupervisor starts this binary again, detached from the terminal and from our
// standard files: `go test` waits until nobody has those open any more.
func startSupervisor(dir string, owner *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(context.Background(), self)
	cmd.Args = []string{"rollcall-pgtest-supervisor"} // for whoever wonders what runs there
	cmd.Env = append(os.Environ(), supervisorEnv+"="+dir)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{owner}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	return cmd.Process.Release()
}

// awaitServer waits for what the supervisor has to say. The caller holds start.
func awaitServer(ctx context.Context, dir string) (string, error) {
	for {
		if server, err := os.ReadFile(filepath.Join(dir, "url")); err == nil {
			return string(server), nil
		}
		alive, err := supervised(dir)
		if err != nil {
			return "", err
		}
		if !alive {
			return "", lastWords(dir)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the shared server (see %s): %w", filepath.Join(dir, "log"), ctx.Err())
		case <-time.After(poll):
		}
	}
}

// supervised reports whether a supervisor is alive.
func supervised(dir string) (bool, error) {
	owner, err := flock.Open(filepath.Join(dir, "owner"))
	if err != nil {
		return false, err
	}
	defer func() { _ = owner.Close() }()
	free, err := owner.TryExclusive()
	return !free, err
}

// lastWords returns why a supervisor ended without a server.
func lastWords(dir string) error {
	for _, name := range []string{"error", "log"} {
		if said, err := os.ReadFile(filepath.Join(dir, name)); err == nil && len(said) > 0 {
			return errors.New(strings.TrimSpace(string(said)))
		}
	}
	return errors.New("start the shared server: the supervisor ended without a word")
}

// removeDirectory removes the meeting place. The rename comes first: a newcomer must
// never make its files in a directory that is just being emptied.
func removeDirectory(dir string) error {
	leaving := dir + "-leaving-" + strconv.Itoa(os.Getpid())
	if err := os.Rename(dir, leaving); err != nil {
		return fmt.Errorf("remove the shared server's directory: %w", err)
	}
	if err := os.RemoveAll(leaving); err != nil {
		return fmt.Errorf("remove the shared server's directory: %w", err)
	}
	return nil
}
