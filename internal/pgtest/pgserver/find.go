//go:build unix

package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldestMajor is the oldest PostgreSQL that Rollcall supports.
const oldestMajor = 14

// BinEnv names the directory of the PostgreSQL to use, and no other is looked for.
const BinEnv = "ROLLCALL_POSTGRES_BIN"

const remedy = `install PostgreSQL 14 or newer:
  Debian, Ubuntu: apt-get install postgresql
  macOS:          brew install postgresql@17
or put the directory of its initdb, pg_ctl and postgres on PATH, or into ` + BinEnv

// place is a directory where PostgreSQL's programs may be, and why we look there.
type place struct {
	dir, why string
}

// finder looks for PostgreSQL's programs; its parts are fields for the tests' sake.
type finder struct {
	places func(context.Context) []place
	check  func(ctx context.Context, dir string) error
	fetch  func(context.Context) (dir string, err error)
}

func newFinder(a *account) finder {
	f := finder{
		places: usualPlaces,
		check:  func(ctx context.Context, dir string) error { return checkPrograms(ctx, a, dir) },
		fetch: func(ctx context.Context) (string, error) {
			cache, err := cacheDir()
			if err != nil {
				return "", err
			}
			return fetch(ctx, cache)
		},
	}
	if dir := os.Getenv(BinEnv); dir != "" {
		f.places = func(context.Context) []place { return []place{{dir, BinEnv}} }
		f.fetch = func(context.Context) (string, error) { return "", errors.New("not tried, since " + BinEnv + " is set") }
	}
	return f
}

// find returns the directory of the first whole PostgreSQL. Its error lists what was
// tried and says how to get one.
func (f finder) find(ctx context.Context) (string, error) {
	var tried strings.Builder
	for _, p := range f.places(ctx) {
		err := f.check(ctx, p.dir)
		if err == nil {
			return p.dir, nil
		}
		fmt.Fprintf(&tried, "  %s (%s): %v\n", p.dir, p.why, err)
	}
	dir, err := f.fetch(ctx)
	if err == nil {
		err = f.check(ctx, dir)
	}
	if err != nil {
		return "", fmt.Errorf("find PostgreSQL: none on this machine and none to be fetched; tried pg_config, PATH and the usual directories:\n%s  download: %w\n%s",
			tried.String(), err, remedy)
	}
	return dir, nil
}

func usualPlaces(ctx context.Context) []place {
	var places []place
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		places = append(places, place{strings.TrimSpace(string(out)), "pg_config --bindir"})
	}
	if program, err := exec.LookPath("initdb"); err == nil {
		// PATH may hold a link to it: the other programs are beside its target
		if target, err := filepath.EvalSymlinks(program); err == nil {
			program = target
		}
		places = append(places, place{filepath.Dir(program), "PATH"})
	}
	patterns := []string{
		"/usr/lib/postgresql/*/bin", // Debian
		"/usr/pgsql-*/bin",          // Red Hat
		"/opt/homebrew/opt/postgresql@*/bin",
		"/opt/homebrew/bin",
		"/usr/local/opt/postgresql@*/bin", // Homebrew on Intel
		"/usr/local/bin",
		"/usr/local/pgsql/bin", // built from source
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	}
	if cache, err := cacheDir(); err == nil {
		patterns = append(patterns, filepath.Join(cache, "rollcall-*", "bin")) // downloaded before
	}
	for _, pattern := range patterns {
		for _, dir := range newestFirst(pattern) {
			places = append(places, place{dir, pattern})
		}
	}
	return places
}

var number = regexp.MustCompile(`\d+(\.\d+)?`)

// newestFirst returns the directories that match the pattern, the highest version first.
func newestFirst(pattern string) []string {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	version := func(dir string) float64 {
		numbers := number.FindAllString(dir, -1)
		if len(numbers) == 0 {
			return 0 // the last
		}
		v, _ := strconv.ParseFloat(numbers[len(numbers)-1], 64) // matched as one
		return v
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

// checkPrograms says what keeps a directory from being a whole PostgreSQL that the
// account can run. Debian's client package, for one, has a pg_config and no server.
func checkPrograms(ctx context.Context, a *account, dir string) error {
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return fmt.Errorf("no %s", program)
		}
	}
	out, err := output(command(ctx, a, "/", filepath.Join(dir, "postgres"), "--version"))
	if err != nil {
		return err
	}
	_, version, _ := strings.Cut(out, "(PostgreSQL) ")
	major, _ := strconv.ParseFloat(number.FindString(version), 64) // 0 when it says none
	if major < oldestMajor {
		return fmt.Errorf("%s is older than %d", strings.TrimSpace(out), oldestMajor)
	}
	return nil
}

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
