//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// fetch has PostgreSQL downloaded into a directory and returns where its programs are. The program
// that downloads is run from its source; see there why it is not part of this one. Arguments
// after the directory are for the tests' sake.
func fetch(ctx context.Context, args ...string) (bin string, err error) {
	source, err := fetchSource()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "-buildvcs=false", "."}, args...)...)
	cmd.Dir, cmd.WaitDelay = source, time.Second
	out, err := cmd.Output()
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		return "", errors.New(lastLines(string(failed.Stderr)))
	case err != nil:
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// fetchSource returns the directory of the program that downloads, where this one was built from
// a checkout on this machine. It must be ours or root's: what is there is run.
func fetchSource() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "fetch")
	info, err := os.Stat(dir)
	if !filepath.IsAbs(dir) || err != nil {
		return "", errors.New("only a checkout of Rollcall can download it, with Go")
	}
	if !ownedBy(info, os.Geteuid()) && !ownedBy(info, 0) {
		return "", fmt.Errorf("%s belongs to another user", dir)
	}
	return dir, nil
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
