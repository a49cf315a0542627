package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
func launch(t testing.TB, c commandLine, log io.Writer) (*process, error) {
	p := &process{cmd: c.command(t, "serve"), ended: make(chan struct{})}
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

// startProcess runs the built binary until the test ends, and waits until it is ready; its log shows
// in that of a test that fails.
func startProcess(t testing.TB, c commandLine) *process {
	t.Helper()
	log := &journal{}
	p := must.Get(launch(t, c, log))(t)
	p.log = log
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("serve said:\n%s", log)
		}
	})
	log.await(t, "ready", 1)
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
	return must.Get(built())(t)
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

// What serves tests, and what downloads a PostgreSQL for them, is not part of the program.
func TestProgramLinksNothingOfTests(t *testing.T) {
	t.Parallel()
	out := must.Get(exec.CommandContext(t.Context(), "go", "list", "-buildvcs=false", "-deps", ".").Output())(t)
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, "rollcall/internal/pgtest/pgserver") {
		t.Fatalf("the list of %d packages lacks one that is linked", len(linked))
	}
	for _, p := range linked {
		for _, unwanted := range []string{"testing", "rollcall/internal/testtag", "github.com/fergusstrange/embedded-postgres", "github.com/lib/pq", "github.com/xi2/xz"} {
			if p == unwanted || strings.HasPrefix(p, unwanted+"/") {
				t.Errorf("the program links %s", p)
			}
		}
	}
}
