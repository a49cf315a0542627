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

	"rollcall/internal/pgtest/flock"
)

// home is the directory of one server:
//
//	lock     held by the process that owns the server
//	log      what the server said
//	data/    PostgreSQL's own, data.new/ until initdb is through
//	pg_hba.conf, password (of postgres)   for the server's user alone
type home struct {
	dir       string
	temporary bool // made by us, to be removed with the server
	account   *account
	lock      *flock.File
}

// openHome makes a server's directory, or takes over the one an earlier server left.
func openHome(ctx context.Context, opt Options, bin string, a *account) (*home, error) {
	h := &home{dir: opt.Dir, account: a}
	var err error
	if opt.Dir == "" {
		err = h.makeTemporary(ctx, bin, opt.Durable)
	} else {
		err = h.openAt(ctx, bin)
	}
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// makeTemporary makes the directory in the first place for temporary files that the
// account can reach: root's TMPDIR is often closed to it.
func (h *home) makeTemporary(ctx context.Context, bin string, durable bool) error {
	var failed error
	for _, root := range temporaryRoots(durable) {
		sweep(root)
		dir, err := os.MkdirTemp(root, homePrefix()+"*")
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("make the server's directory: %w", err))
			continue
		}
		h.dir, h.temporary = dir, true
		if err = h.openAt(ctx, bin); err == nil {
			return nil
		}
		failed = errors.Join(failed, err, h.close())
	}
	return failed
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

func (h *home) openAt(ctx context.Context, bin string) error {
	if err := h.own(); err != nil {
		return err
	}
	if err := stopOrphan(h.data()); err != nil {
		return err
	}
	if _, err := output(command(ctx, h.account, h.dir, filepath.Join(bin, "postgres"), "--version")); err != nil {
		return fmt.Errorf("enter %s as %s (choose a directory it can reach): %w", h.dir, h.account, err)
	}
	return nil
}

// own makes the directory enterable and takes its lock.
func (h *home) own() error {
	mode := os.FileMode(0o700)
	if h.account != nil {
		mode = 0o711 // the account enters, but only root lists
	}
	_, missing := os.Stat(h.dir)
	if err := os.MkdirAll(h.dir, mode); err != nil {
		return fmt.Errorf("make the server's directory: %w", err)
	}
	if h.temporary || missing != nil {
		if err := os.Chmod(h.dir, mode); err != nil {
			return fmt.Errorf("open the server's directory: %w", err)
		}
	}
	lock, err := flock.Open(filepath.Join(h.dir, "lock"))
	if err != nil {
		return err
	}
	if free, err := lock.TryExclusive(); err != nil || !free {
		return errors.Join(fmt.Errorf("lock %s: another process runs a server there", h.dir), err, lock.Close())
	}
	h.lock = lock
	if err := lock.Mark(); err != nil { // tells a sweep that this lock had a holder
		return err
	}
	return nil
}

func (h *home) data() string    { return filepath.Join(h.dir, "data") }
func (h *home) logPath() string { return filepath.Join(h.dir, "log") }

func (h *home) hbaPath() string      { return filepath.Join(h.dir, "pg_hba.conf") }
func (h *home) passwordPath() string { return filepath.Join(h.dir, "password") }

// close removes a temporary directory and releases the lock, in that order: a sweep by
// another process leaves a locked directory alone.
func (h *home) close() error {
	var err error
	if h.temporary {
		err = os.RemoveAll(h.dir)
	}
	if h.lock != nil {
		err = errors.Join(err, h.lock.Close())
		h.lock = nil
	}
	return err
}

// homePrefix starts the name of every temporary directory of this user.
func homePrefix() string { return "rollcall-postgres-" + strconv.Itoa(os.Geteuid()) + "-" }

// sweep removes what killed processes of this user left: directories whose lock nobody
// holds, and the servers that still run in them. It's a favour, so errors don't matter.
func sweep(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, homePrefix()+"*"))
	for _, dir := range dirs {
		sweepOne(dir)
	}
}

func sweepOne(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || !ownedByUs(info) {
		return
	}
	path := filepath.Join(dir, "lock")
	if mark, err := os.Lstat(path); (err != nil || mark.Size() == 0) && time.Since(info.ModTime()) < time.Minute {
		return // its maker is about to lock it
	}
	lock, err := flock.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = lock.Close() }()
	if free, err := lock.TryExclusive(); err != nil || !free {
		return
	}
	if stopOrphan(filepath.Join(dir, "data")) == nil {
		_ = os.RemoveAll(dir)
	}
}

func ownedByUs(info fs.FileInfo) bool { return ownedBy(info, os.Geteuid()) }

func ownedBy(info fs.FileInfo, uid int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}

// stopOrphan stops the server that outlived its owner in a data directory we have the
// lock of, then removes its pid file: PostgreSQL would take any later process with the
// same pid for it and refuse to start.
func stopOrphan(data string) error {
	pidFile := filepath.Join(data, "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a server left running: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(line)
	if err == nil && pid > 1 {
		if err := stopForeign(pid, data); err != nil {
			return err
		}
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the pid file of a server left behind: %w", err)
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
