//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// home is the temporary directory of one server, locked by the process that owns the server:
//
//	log      what the server said
//	data/    PostgreSQL's own
//	pg_hba.conf, password (of postgres)   for the server's user alone
type home struct {
	dir     string
	account *account
	lock    *os.File
}

// openHome makes a server's directory in the first place for temporary files that the account
// can reach: root's TMPDIR is often closed to it.
func openHome(ctx context.Context, opt Options, bin string, a *account) (*home, error) {
	var failed error
	for _, root := range temporaryRoots(opt.Durable) {
		sweep(root)
		h := &home{account: a}
		err := h.open(ctx, root, bin)
		if err == nil {
			return h, nil
		}
		failed = errors.Join(failed, err, h.close())
	}
	return nil, failed
}

// temporaryRoots are the places for temporary directories, the best first. That is
// memory unless TMPDIR names a place: each new database is three hundred files, which
// ext4 needs ten times as long for right after others were removed.
func temporaryRoots(durable bool) []string {
	roots := []string{os.TempDir(), "/tmp"}
	if memory := inMemory(); memory != "" && !durable && os.Getenv("TMPDIR") == "" {
		roots = slices.Insert(roots, 0, memory)
	}
	return slices.Compact(roots)
}

// open makes the directory, locks it and makes it enterable.
func (h *home) open(ctx context.Context, root, bin string) (err error) {
	if h.dir, err = os.MkdirTemp(root, homePrefix()+"*"); err != nil {
		return fmt.Errorf("make the server's directory: %w", err)
	}
	if h.lock, err = Lock(h.dir, syscall.LOCK_EX); err != nil {
		return err
	}
	if h.account != nil { // the account enters, but only root lists
		if err := os.Chmod(h.dir, 0o711); err != nil { //nolint:gosec // what is in it is closed
			return fmt.Errorf("open the server's directory: %w", err)
		}
	}
	if err := os.WriteFile(h.logPath(), nil, 0o600); err != nil { // tells a sweep that the lock had a holder
		return fmt.Errorf("open the server's log: %w", err)
	}
	if _, err := output(command(ctx, h.account, h.dir, filepath.Join(bin, "postgres"), "--version")); err != nil {
		return fmt.Errorf("enter %s as %s: %w", h.dir, h.account, err)
	}
	return nil
}

func (h *home) data() string         { return filepath.Join(h.dir, "data") }
func (h *home) logPath() string      { return filepath.Join(h.dir, "log") }
func (h *home) hbaPath() string      { return filepath.Join(h.dir, "pg_hba.conf") }
func (h *home) passwordPath() string { return filepath.Join(h.dir, "password") }

// close removes the directory and releases the lock, in that order: a sweep by another process
// leaves a locked directory alone.
func (h *home) close() error {
	err := os.RemoveAll(h.dir)
	if h.lock != nil {
		_ = h.lock.Close() // it was open for the lock alone
	}
	return err
}

// Lock locks a directory between processes, with the flags of flock(2). The kernel releases the
// lock with the last descriptor of the file, so one whose holder was killed is never left behind.
// It fails with fs.ErrNotExist where there is no directory, and with EWOULDBLOCK where it does not wait.
func Lock(dir string, how int) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EINTR) { // a signal, such as the runtime's own for preemption
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
		}
	}
}

// homePrefix starts the name of every temporary directory of this user.
func homePrefix() string { return fmt.Sprintf("rollcall-postgres-user%d-", os.Geteuid()) }

// sweep removes what killed processes of this user left: directories whose lock no process
// holds, and the servers that still run in them. It's a favour, so errors don't matter.
func sweep(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, homePrefix()+"*"))
	for _, dir := range dirs {
		sweepOne(dir)
	}
}

func sweepOne(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || !ownedBy(info, os.Geteuid()) {
		return
	}
	if _, err := os.Lstat(filepath.Join(dir, "log")); err != nil && time.Since(info.ModTime()) < time.Minute {
		return // its maker is about to lock it
	}
	lock, err := Lock(dir, syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return
	}
	defer func() { _ = lock.Close() }()
	if stopOrphan(filepath.Join(dir, "data")) == nil {
		_ = os.RemoveAll(dir)
	}
}

func ownedBy(info fs.FileInfo, uid int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}

// stopOrphan stops the server that outlived its owner in a data directory we have the lock of.
func stopOrphan(data string) error {
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a server left running: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
		return stopForeign(pid, data)
	}
	return nil
}

// stopForeign ends a process that isn't our child, if it's the server of this data
// directory and not one that was given the same pid since.
func stopForeign(pid int, data string) error {
	const patience = 8 * time.Second
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		if !strings.Contains(commandLine(pid), data) {
			return nil
		}
		_ = syscall.Kill(pid, sig) // gone already is as good
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if !strings.Contains(commandLine(pid), data) {
				return nil
			}
		}
	}
	return fmt.Errorf("stop the server left in %s: process %d doesn't end; end it by hand", data, pid)
}
