//go:build bench

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a candidate that listens.
type process struct {
	cmd     *exec.Cmd
	address string // host:port for webhooks
	admin   string // host:port of Rollcall's metrics; empty for others
	said    bytes.Buffer
	ended   chan error
}

// patience bounds the start and the end of a candidate.
const patience = 30 * time.Second

// freeAddress is an address nobody listens at for the moment.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// start runs a program with more variables and waits until it says that it is ready.
func start(ctx context.Context, p *process, ready string) error {
	if p.cmd.Stderr == nil {
		p.cmd.Stderr = &p.said
	}
	p.ended = make(chan error, 1)
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start a candidate: %w", err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if answers(ctx, ready) {
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

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
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

// memory returns a line of /proc/PID/status in MiB: VmHWM is the peak, VmRSS the present.
// It is 0 where there is no /proc.
func (p *process) memory(line string) float64 {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), line+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// batches returns how many batches and events Rollcall has committed.
func (p *process) batches(ctx context.Context) (batches, events float64, err error) {
	if p.admin == "" {
		return 0, 0, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, 0, fmt.Errorf("read Rollcall's metrics: %w", err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		return 0, 0, fmt.Errorf("read Rollcall's metrics: %w", err)
	}
	for line := range strings.Lines(text.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "rollcall_batch_events_count":
			batches, err = strconv.ParseFloat(value, 64)
		case "rollcall_batch_events_sum":
			events, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read Rollcall's metrics: %w", err)
		}
	}
	return batches, events, nil
}

// programs are what the candidates run.
type programs struct {
	dir      string // temporary
	rollcall string
	self     string // this program
	fastify  string // directory with everything installed; empty when it can't be measured
	without  string // why
}

// install builds and installs the candidates in a temporary directory.
func install(ctx context.Context) (*programs, error) {
	p, err := build(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.installFastify(ctx); err != nil {
		p.without = err.Error()
	}
	return p, nil
}

// build is install without what isn't ours.
func build(ctx context.Context) (*programs, error) {
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return nil, err
	}
	p := &programs{dir: dir, rollcall: filepath.Join(dir, "rollcall")}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", p.rollcall, "./cmd/rollcall")
	if output, err := command.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build Rollcall (run this in the repository's first directory): %w: %s", err, output), p.remove())
	}
	if p.self, err = os.Executable(); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	if err := os.WriteFile(filepath.Join(dir, "rollcall.yaml"), configuration, 0o600); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

func (p *programs) remove() error { return os.RemoveAll(p.dir) }

func (p *programs) installFastify(ctx context.Context) error {
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("node is not installed")
	}
	to := filepath.Join(p.dir, "fastify")
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
