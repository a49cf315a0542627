//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// fetchVersion is the PostgreSQL to download where there is none.
const fetchVersion = embedded.V17

// fetch downloads PostgreSQL into embedded-postgres's cache, or finds it there.
func fetch(ctx context.Context, check func(context.Context, string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	return fetchInto(ctx, embedded.DefaultConfig().CachePath(cache), cache, check)
}

func fetchInto(ctx context.Context, config embedded.Config, cache string, check func(context.Context, string) error) (string, error) {
	home := filepath.Join(cache, "rollcall-"+string(fetchVersion))
	bin := filepath.Join(home, "bin")
	if check(ctx, bin) == nil {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // the server's account must be able to enter
		return "", fmt.Errorf("make the cache of PostgreSQL: %w", err)
	}
	work, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return "", fmt.Errorf("make the cache of PostgreSQL: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	unpacked := filepath.Join(work, "home")
	if err := unpack(config, work, unpacked); err != nil {
		return "", err
	}
	// a rename, so that nobody ever finds half a PostgreSQL; one that another process
	// has put there in the meantime is as good as ours
	if err := os.Rename(unpacked, home); err != nil && check(ctx, bin) != nil {
		return "", fmt.Errorf("put PostgreSQL into its place: %w", err)
	}
	return bin, check(ctx, bin)
}

// unpack downloads and unpacks the programs into a directory. embedded-postgres has no
// call for that step alone, so we let it start a database that can't start: a data
// directory with a version and nothing else skips initdb, which would refuse root.
func unpack(config embedded.Config, work, into string) error {
	data := filepath.Join(work, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return fmt.Errorf("unpack PostgreSQL: %w", err)
	}
	major, _, _ := strings.Cut(string(fetchVersion), ".")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(major+"\n"), 0o600); err != nil {
		return fmt.Errorf("unpack PostgreSQL: %w", err)
	}
	db := embedded.NewDatabase(config.Version(fetchVersion).BinariesPath(into).DataPath(data).
		RuntimePath(filepath.Join(work, "run")).Port(0).StartTimeout(time.Second).Logger(io.Discard))
	err := db.Start()
	removeLogs()
	runtime.KeepAlive(db)
	if err == nil {
		return errors.Join(errors.New("unpack PostgreSQL: it started from an empty directory"), db.Stop())
	}
	if _, missing := os.Stat(filepath.Join(into, "bin", "postgres")); missing != nil {
		return fmt.Errorf("fetch PostgreSQL %s: %w", fetchVersion, err)
	}
	return nil
}

// removeLogs removes the log that embedded-postgres leaves among the temporary files.
// It doesn't tell the name, but holds the file open, which tells ours from the log of
// another process.
func removeLogs() {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	for _, log := range logs {
		info, err := os.Stat(log)
		if err != nil {
			continue
		}
		named, ok := info.Sys().(*syscall.Stat_t)
		for fd := 3; ok && fd < 1024; fd++ {
			var open syscall.Stat_t
			if syscall.Fstat(fd, &open) == nil && open.Dev == named.Dev && open.Ino == named.Ino {
				_ = os.Remove(log)
			}
		}
	}
}

// cacheDir is where embedded-postgres keeps its downloads. Root's home is closed to the
// account the server runs as, so root uses the system's cache.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/embedded-postgres-go", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache of PostgreSQL: %w", err)
	}
	return filepath.Join(home, ".embedded-postgres-go"), nil
}
