package pgserver

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// childAttr lets the kernel end a child with this process, by PostgreSQL's fast shutdown, and puts it into
// a process group of its own, so that a terminal's Ctrl-C reaches us alone.
func childAttr(a *account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT, Credential: credential(a)}
}

// commandLine returns the arguments of a process, empty when there is no such process.
func commandLine(pid int) string {
	args, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(args), "\x00", " ")
}

// inMemory returns a directory for temporary files in memory, if it has room for a
// busy server: a container's usual 64 MB are too few.
func inMemory() string {
	const dir, tmpfs, enough = "/dev/shm", 0x01021994, 2 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Type != tmpfs || fs.Bavail*uint64(fs.Bsize) < enough { //nolint:gosec // a block has a size
		return ""
	}
	return dir
}
