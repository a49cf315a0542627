//go:build bench

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rollcall/internal/pgtest/pgserver"
)

// process is a candidate that listens.
type process struct {
	cmd     *exec.Cmd
	address string // host:port for webhooks
	admin   string // host:port of Rollcall's metrics; empty for others
	said    bytes.Buffer
	ended   chan error
}

// patience is the longest wait for the start or the end of a candidate.
const patience = 30 * time.Second

// freeAddress is an address at which no program listens, and which no connection takes.
func freeAddress(ctx context.Context) (string, error) {
	port, err := pgserver.FreePort(ctx)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

// start runs the program and waits until an address says that it is ready.
func (p *process) start(ctx context.Context, address string) error {
	p.ended = make(chan error, 1)
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start a candidate: %w", err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if _, err := get(ctx, "http://"+address+"/readyz"); err == nil {
			return nil
		}
		select {
		case err := <-p.ended:
			return fmt.Errorf("%s ended before it was ready (%w): %s", filepath.Base(p.cmd.Path), err, p.said.String())
		case <-ctx.Done():
			_ = p.cmd.Process.Kill()
			return fmt.Errorf("%s was not ready within %s", filepath.Base(p.cmd.Path), patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get returns the text behind a URL.
func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(text), err
}

// stop ends the process in order.
func (p *process) stop() error {
	http.DefaultClient.CloseIdleConnections()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.ended:
		if err != nil {
			return fmt.Errorf("%s ended with %w: %s", filepath.Base(p.cmd.Path), err, p.said.String())
		}
		return nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s did not end within %s", filepath.Base(p.cmd.Path), patience)
	}
}

// batches returns how many batches and events Rollcall has committed.
func (p *process) batches(ctx context.Context) (batches, events float64, err error) {
	if p.admin == "" {
		return 0, 0, nil
	}
	text, err := get(ctx, "http://"+p.admin+"/metrics")
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var bad error
		switch name {
		case "rollcall_batch_events_count":
			batches, bad = strconv.ParseFloat(value, 64)
		case "rollcall_batch_events_sum":
			events, bad = strconv.ParseFloat(value, 64)
		}
		err = errors.Join(err, bad)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read Rollcall's metrics: %w", err)
	}
	return batches, events, nil
}

// programs are what the candidates run.
type programs struct {
	dir      string // temporary
	rollcall string
	self     string // this program
	fastify  string // directory with everything installed
	without  string // why fastify can't be measured
}

// build builds Rollcall in a directory.
func build(ctx context.Context, dir string) (*programs, error) {
	p := &programs{dir: dir, rollcall: filepath.Join(dir, "rollcall")}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", p.rollcall, "./cmd/rollcall")
	if output, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build Rollcall (run this in the repository's first directory): %w: %s", err, output)
	}
	var err error
	if p.self, err = os.Executable(); err != nil {
		return nil, err
	}
	return p, os.WriteFile(p.file("rollcall.yaml"), configuration, 0o600)
}

// file is the path of a file beside the programs.
func (p *programs) file(name string) string { return filepath.Join(p.dir, name) }

// installFastify installs what isn't ours.
func (p *programs) installFastify(ctx context.Context) error {
	if p.fastify != "" {
		return nil
	}
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("node is not installed")
	}
	to := p.file("fastify")
	if err := os.CopyFS(to, os.DirFS("bench/fastify")); err != nil {
		return fmt.Errorf("copy the handler: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts")
	npm.Dir = to
	if output, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci failed: %w: %.300s", err, output)
	}
	p.fastify = to
	return nil
}
