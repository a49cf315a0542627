//go:build bench

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor times in /proc, on every Linux.
const tick = 10 * time.Millisecond

// cost is processor time. It says where a machine that has nothing left to give has spent
// it, and hardly changes when another process takes its share.
type cost struct{ server, candidate, generator time.Duration }

// spent is what the server, the candidate's processes and this one have used so far; zeros
// where there is no /proc.
func (s *stand) spent(candidates ...*process) cost {
	c := cost{server: s.serverTime(), generator: processorTime(os.Getpid())}
	for _, p := range candidates {
		c.candidate += processorTime(p.cmd.Process.Pid)
	}
	return c
}

// note puts what was spent since an earlier moment into a measurement, per event.
func (c cost) note(m *measured, before cost) {
	if m.Committed == 0 {
		return
	}
	each := func(now, then time.Duration) time.Duration { return (now - then) / time.Duration(m.Committed) }
	m.Server, m.Candidate, m.Generator = each(c.server, before.server), each(c.candidate, before.candidate), each(c.generator, before.generator)
}

// stat are the fields of /proc/PID/stat behind the name, which may hold spaces: the first
// is the state.
func stat(pid string) []string {
	_, rest, _ := strings.Cut(read(filepath.Join("/proc", pid, "stat")), ") ")
	return strings.Fields(rest)
}

// The places of fields in stat.
const (
	statParent     = 1
	statUser       = 11
	statSystem     = 12
	statChildUser  = 13
	statChildSytem = 14
)

func ticks(fields []string, places ...int) (sum time.Duration) {
	for _, at := range places {
		if at < len(fields) {
			n, _ := strconv.ParseInt(fields[at], 10, 64)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

func processorTime(pid int) time.Duration {
	return ticks(stat(strconv.Itoa(pid)), statUser, statSystem)
}

// serverTime is that of PostgreSQL with all its processes, also those that have ended.
func (s *stand) serverTime() time.Duration {
	postmaster, _, _ := strings.Cut(read(filepath.Join(s.dir, "data", "postmaster.pid")), "\n")
	sum := ticks(stat(postmaster), statUser, statSystem, statChildUser, statChildSytem)
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		if f := stat(filepath.Base(dir)); len(f) > statParent && f[statParent] == postmaster {
			sum += ticks(f, statUser, statSystem)
		}
	}
	return sum
}
