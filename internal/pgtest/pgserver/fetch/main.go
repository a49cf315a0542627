//go:build unix

// Command fetch downloads PostgreSQL into a directory and prints where its programs are:
//
//	go run ./internal/pgtest/pgserver/fetch DIRECTORY [REPOSITORY]
//
// Package pgserver runs it. It is a program of its own, because the library that downloads links
// testing, a second driver and a decompressor, which rollcall is not to have.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// fetchVersion is the PostgreSQL to download.
const fetchVersion = embedded.V17

func main() {
	bin, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, bin)
}

func run(args []string) (string, error) {
	if len(args) == 0 {
		return "", errors.New("name the directory to download PostgreSQL into")
	}
	config := embedded.DefaultConfig().CachePath(args[0])
	if len(args) > 1 {
		config = config.BinaryRepositoryURL(args[1])
	}
	return fetchInto(config, args[0])
}

// fetchInto downloads and unpacks PostgreSQL, or finds it unpacked.
func fetchInto(config embedded.Config, cache string) (string, error) {
	home := filepath.Join(cache, "rollcall-"+string(fetchVersion))
	bin := filepath.Join(home, "bin")
	if isThere(bin) {
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
	_ = os.Setenv("TMPDIR", work) // embedded-postgres leaves a log among the temporary files
	unpacked := filepath.Join(work, "home")
	if err := unpack(config, work, unpacked); err != nil {
		return "", err
	}
	// A rename, so that no process finds half a PostgreSQL. One that another process has put there in
	// the meantime is as good as ours.
	if err := os.Rename(unpacked, home); err != nil && !isThere(bin) {
		return "", fmt.Errorf("put PostgreSQL into its place: %w", err)
	}
	return bin, nil
}

func isThere(bin string) bool {
	_, err := os.Stat(filepath.Join(bin, "postgres"))
	return err == nil
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
	if err == nil {
		return errors.Join(errors.New("unpack PostgreSQL: it started from an empty directory"), db.Stop())
	}
	if !isThere(filepath.Join(into, "bin")) {
		return fmt.Errorf("fetch PostgreSQL %s: %w", fetchVersion, err)
	}
	return nil
}
