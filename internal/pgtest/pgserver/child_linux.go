package pgserver

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// childAttr makes a child die with us, by PostgreSQL's fast shutdown, and puts it into
// a process group of its own, so that a terminal's Ctrl-C reaches us alone.
func childAttr(a *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	attr.Credential = credential(a)
	return attr
}

// commandLine returns the arguments of a process, empty when there is no such process.
func commandLine(pid int) string {
	args, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(args), "\x00", " ")
}
