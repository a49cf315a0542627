//go:build unix && !linux

package pgserver

import (
	"context"
	"os/exec"
	"strconv"
	"syscall"
)

// childAttr puts a child into a process group of its own, so that a terminal's Ctrl-C
// reaches us alone. Only Linux can end a child with its parent; elsewhere the next
// start stops what a killed one left.
func childAttr(a *account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: credential(a)}
}

// commandLine returns the arguments of a process, empty when there is no such process.
func commandLine(pid int) string {
	args, err := exec.CommandContext(context.Background(), "ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(args)
}

// inMemory returns a directory for temporary files in memory; none is usual here.
func inMemory() string { return "" }
