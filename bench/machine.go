//go:build bench

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machine is where and with what was measured.
type machine struct {
	date, cores, memory, disk, kernel string
	versions                          []string
	settings                          []string
}

func describe(ctx context.Context, d *database, dir string) (*machine, error) {
	m := &machine{
		date:   time.Now().UTC().Format("2006-01-02"),
		cores:  fmt.Sprintf("%d cores, %s", runtime.NumCPU(), fileField("/proc/cpuinfo", "model name")),
		memory: memory(), disk: filesystem(dir), kernel: strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
	}
	server, err := show(ctx, d.conn, "server_version")
	if err != nil {
		return nil, err
	}
	m.versions = append([]string{runtime.Version(), "PostgreSQL " + server}, libraries()...)
	if node, err := exec.CommandContext(ctx, "node", "--version").Output(); err == nil {
		m.versions = append(m.versions, "node "+strings.TrimSpace(string(node)))
	}
	for _, p := range regexp.MustCompile(`"([^"]+)": "(\d[^"]*)"`).FindAllStringSubmatch(read("bench/fastify/package.json"), -1) {
		m.versions = append(m.versions, p[1]+" "+p[2])
	}
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_sync_method", "shared_buffers", "max_wal_size", "autovacuum"} {
		value, err := show(ctx, d.conn, name)
		if err != nil {
			return nil, err
		}
		m.settings = append(m.settings, name+" = "+value)
	}
	return m, nil
}

// String is the paragraph before the tables.
func (m *machine) String() string {
	return fmt.Sprintf("Measured %s on %s, %s, Linux %s; the database on %s. %s.\n\nPostgreSQL says: %s.\n",
		m.date, m.cores, m.memory, m.kernel, m.disk, strings.Join(m.versions, ", "), strings.Join(m.settings, ", "))
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

func memory() string {
	var kib int
	if _, err := fmt.Sscan(fileField("/proc/meminfo", "MemTotal"), &kib); err != nil {
		return "unknown memory"
	}
	return fmt.Sprintf("%.0f GiB of memory", float64(kib)/(1<<20))
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
