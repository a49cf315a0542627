//go:build unix

// Package flock locks files between processes. The kernel releases a lock with the
// last descriptor of its file, so one whose holder was killed is never left behind.
package flock

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// File is an open file that can carry a lock.
type File struct {
	file *os.File
}

// Open opens the file at path for locking and creates it when it's missing, readable
// by its owner only. It returns an fs.ErrNotExist when the directory is gone.
func Open(path string) (*File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return &File{file: file}, nil
}

// Shared waits until nobody else holds the lock exclusively, then takes a share.
func (f *File) Shared() error { return f.flock(syscall.LOCK_SH) }

// Exclusive waits until nobody else holds the lock, then takes it.
func (f *File) Exclusive() error { return f.flock(syscall.LOCK_EX) }

// TryExclusive takes the lock if nobody else holds it, and says whether it did.
func (f *File) TryExclusive() (bool, error) {
	err := f.flock(syscall.LOCK_EX | syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// Unlock gives the lock back and keeps the file open.
func (f *File) Unlock() error { return f.flock(syscall.LOCK_UN) }

// Current reports whether the path still names this file. Whoever waited for a lock
// must ask: its holder may have removed the file, and then others lock another one.
func (f *File) Current() bool {
	ours, err := f.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.file.Name())
	return err == nil && os.SameFile(ours, named)
}

// Mark writes our process id into the file: it was locked once, and by whom.
func (f *File) Mark() error {
	if _, err := f.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("mark lock: %w", err)
	}
	return nil
}

// Fd returns the open file, for handing the lock on to a child: a lock belongs to the
// open file, so the child keeps it when the parent closes its own descriptor.
func (f *File) Fd() *os.File { return f.file }

// Close closes the file and with it gives the lock back, unless a child has it too.
func (f *File) Close() error {
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("close lock: %w", err)
	}
	return nil
}

func (f *File) flock(how int) error {
	for {
		err := syscall.Flock(int(f.file.Fd()), how)
		if errors.Is(err, syscall.EINTR) {
			continue // a signal, such as the runtime's own for preemption
		}
		if err != nil {
			return fmt.Errorf("lock %s: %w", f.file.Name(), err)
		}
		return nil
	}
}
