package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"rollcall/internal/must"
)

// process is the built binary, running as a service of its own.
type process struct {
	cmd           *exec.Cmd
	public, admin string        // base URLs
	log           *journal      // what it has logged, of startProcess
	ended         chan struct{} // closed when it has ended, as err says
	err           error
}

// launch starts a service and waits until it listens. Its log goes to a writer.
func launch(binary, file string, getenv func(string) string, log io.Writer) (*process, error) {
	p := &process{cmd: exec.Command(binary, "serve", "-c", file), ended: make(chan struct{})}
	p.cmd.Env = os.Environ()
	for _, name := range []string{"DATABASE_URL", "ADMIN_TOKEN", "CLERK_SECRET", "SUPABASE_SECRET", "DATABASE_SECRET"} {
		p.cmd.Env = append(p.cmd.Env, name+"="+getenv(name))
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	listening := make(chan struct{})
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			var line struct {
				Msg, Listen string
				AdminListen string `json:"admin_listen"`
			}
			if p.public == "" && json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				p.public, p.admin = "http://"+line.Listen, "http://"+line.AdminListen
				close(listening)
			}
			fmt.Fprintln(log, lines.Text())
		}
		p.err = p.cmd.Wait()
	}()
	select {
	case <-listening:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("serve ended before it listened: %w", p.err)
	}
}

// end sends a signal and waits until the process has ended.
func (p *process) end(s syscall.Signal) error {
	_ = p.cmd.Process.Signal(s)
	<-p.ended
	return p.err
}

// startProcess runs the built binary until the test ends; its errors show in the test's log.
func startProcess(t testing.TB, binary, file string, getenv func(string) string) *process {
	t.Helper()
	log := &journal{}
	p := must.Get(launch(binary, file, getenv, log))(t)
	p.log = log
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("serve said:\n%s", log)
		}
	})
	return p
}

// stop ends the service in order, unless it has ended.
func (p *process) stop(t testing.TB) {
	t.Helper()
	select {
	case <-p.ended:
		return
	default:
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("serve ended with %v", err)
	}
}

// kill leaves the service no time for anything.
func (p *process) kill() { _ = p.end(syscall.SIGKILL) }

// builtIn is the directory of the built binary, empty until a test needs it.
var builtIn string

var built = sync.OnceValues(func() (string, error) {
	var err error
	if builtIn, err = os.MkdirTemp("", "rollcall-built-"); err != nil {
		return "", err
	}
	binary := filepath.Join(builtIn, "rollcall")
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return binary, nil
})

// build returns the binary as users have it, built once for all tests.
func build(t testing.TB) string {
	t.Helper()
	binary := must.Get(built())(t)
	return binary
}

// configFile writes a configuration for a process to read.
func configFile(t testing.TB, yaml string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rollcall.yaml")
	must.Do(t, os.WriteFile(file, []byte(yaml), 0o600))
	return file
}

// scrape reads the metrics of a service: a value by name and labels, as they are written.
func scrape(t testing.TB, admin string) map[string]float64 {
	t.Helper()
	_, text := get(t, admin+"/metrics", "")
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = n
		}
	}
	return found
}
