//go:build bench

// Package machine says where and with what is measured, and what processes there have used of it so far. It
// reads that from /proc; elsewhere than on Linux all figures are 0.
package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Describe is the paragraph before the tables, about the machine and a PostgreSQL whose files are in a
// directory.
func Describe(ctx context.Context, conn *pgx.Conn, dir string) (string, error) {
	server, err := Setting(ctx, conn, "server_version")
	if err != nil {
		return "", err
	}
	versions := append([]string{runtime.Version(), "PostgreSQL " + server}, libraries()...)
	if node, err := exec.CommandContext(ctx, "node", "--version").Output(); err == nil {
		versions = append(versions, "node "+strings.TrimSpace(string(node)))
	}
	for _, p := range regexp.MustCompile(`"([^"]+)": "(\d[^"]*)"`).FindAllStringSubmatch(read("bench/fastify/package.json"), -1) {
		versions = append(versions, p[1]+" "+p[2])
	}
	var settings []string
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_sync_method", "shared_buffers", "max_wal_size", "autovacuum"} {
		value, err := Setting(ctx, conn, name)
		if err != nil {
			return "", err
		}
		settings = append(settings, name+" = "+value)
	}
	return fmt.Sprintf("Measured %s on %d cores, %s, %s, Linux %s; the database on %s. %s.\n\nPostgreSQL says: %s.\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), fileField("/proc/cpuinfo", "model name"), memory(),
		strings.TrimSpace(read("/proc/sys/kernel/osrelease")), filesystem(dir), strings.Join(versions, ", "), strings.Join(settings, ", ")), nil
}

// Setting is what PostgreSQL is set to.
func Setting(ctx context.Context, conn *pgx.Conn, name string) (string, error) {
	var value string
	if err := conn.QueryRow(ctx, "select current_setting($1)", name).Scan(&value); err != nil {
		return "", fmt.Errorf("ask for %s: %w", name, err)
	}
	return value, nil
}

// libraries are those that candidates share.
func libraries() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var list []string
	for _, d := range info.Deps {
		switch d.Path {
		case "github.com/jackc/pgx/v5", "github.com/svix/svix-webhooks", "github.com/go-chi/chi/v5":
			list = append(list, strings.TrimPrefix(d.Path, "github.com/")+" "+d.Version)
		}
	}
	return list
}

func read(file string) string {
	text, _ := os.ReadFile(file)
	return string(text)
}

// fileField is the value of the first line "name : value" of a file.
func fileField(file, name string) string {
	for line := range strings.Lines(read(file)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// memory is all that is there.
func memory() string {
	total := mebibytes("/proc/meminfo", "MemTotal")
	if total == 0 {
		return "unknown memory"
	}
	return fmt.Sprintf("%.0f GiB of memory", total/1024)
}

// Resident is a line about memory of a process in MiB: VmHWM is the peak, VmRSS the present.
func Resident(pid int, line string) float64 {
	return mebibytes(filepath.Join("/proc", strconv.Itoa(pid), "status"), line)
}

// mebibytes is a field in kB of a file in /proc; 0 where there is none.
func mebibytes(file, name string) float64 {
	var kib float64
	_, _ = fmt.Sscan(fileField(file, name), &kib)
	return kib / 1024
}

// filesystem is the kind of file system that holds a directory, and of what device.
func filesystem(dir string) string {
	dir, _ = filepath.EvalSymlinks(dir)
	best, found := "", "an unknown file system"
	for line := range strings.Lines(read("/proc/mounts")) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < len(best) {
			continue
		}
		if f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/") {
			best, found = f[1], fmt.Sprintf("%s (%s)", f[2], filepath.Base(f[0]))
		}
	}
	return found
}

// tick is the unit of processor times in /proc, on every Linux.
const tick = 10 * time.Millisecond

// stat are the fields of /proc/PID/stat behind the name, which may hold spaces: the first
// is the state.
func stat(pid string) []string {
	_, rest, _ := strings.Cut(read(filepath.Join("/proc", pid, "stat")), ") ")
	return strings.Fields(rest)
}

// The places of fields in stat.
const (
	statParent      = 1
	statUser        = 11
	statSystem      = 12
	statChildUser   = 13
	statChildSystem = 14
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

// ProcessorTime is what a process has used so far; 0 where there is no /proc.
func ProcessorTime(pid int) time.Duration {
	return ticks(stat(strconv.Itoa(pid)), statUser, statSystem)
}

// ServerTime is that of the PostgreSQL of a data directory with all its processes, also those that have ended.
func ServerTime(data string) time.Duration {
	postmaster, _, _ := strings.Cut(read(filepath.Join(data, "postmaster.pid")), "\n")
	sum := ticks(stat(postmaster), statUser, statSystem, statChildUser, statChildSystem)
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		if f := stat(filepath.Base(dir)); len(f) > statParent && f[statParent] == postmaster {
			sum += ticks(f, statUser, statSystem)
		}
	}
	return sum
}

// Spent is processor time. It says where a machine that has nothing left to give has spent it, and hardly
// changes when another process takes its share.
type Spent struct{ server, candidate, generator time.Duration }

// Now is what a server with its data in a directory, the candidate's processes and this one have used so
// far; zeros where there is no /proc.
func Now(data string, candidate []int) Spent {
	s := Spent{server: ServerTime(data), generator: ProcessorTime(os.Getpid())}
	for _, pid := range candidate {
		s.candidate += ProcessorTime(pid)
	}
	return s
}

// Each is what was spent since an earlier moment on each of n events.
func (s Spent) Each(before Spent, n int) (server, candidate, generator time.Duration) {
	if n == 0 {
		return 0, 0, 0
	}
	each := func(now, then time.Duration) time.Duration { return (now - then) / time.Duration(n) }
	return each(s.server, before.server), each(s.candidate, before.candidate), each(s.generator, before.generator)
}
