//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a started child and the news of its end.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended
	err  error         // how it ended; read after done
}

// command prepares a program of PostgreSQL to run as the account in a directory. The
// caller's PG… and locale variables would change what it does, so they stay outside.
func command(ctx context.Context, a *account, dir string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.SysProcAttr = childAttr(a)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") && !strings.HasPrefix(kv, "TZ=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C")
	return cmd
}

// spawn starts the child on a thread of its own that lives as long as the child: Linux
// sends the signal of a parent's death when the *thread* that started the child ends.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return p, nil
}

// output runs a short command to its end and returns what it printed.
func output(cmd *exec.Cmd) (string, error) {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := spawn(cmd)
	if err != nil {
		return "", err
	}
	<-p.done
	if p.err != nil {
		return out.String(), fmt.Errorf("run %s: %w: %s", filepath.Base(cmd.Path), p.err, lastLines(out.String()))
	}
	return out.String(), nil
}

// launch starts a server whose output is added to a log, and waits until it is ready.
func launch(ctx context.Context, cmd *exec.Cmd, logPath string, ready func() bool) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := spawn(cmd)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx, ready); err != nil {
		_ = p.end(10*time.Second, syscall.SIGQUIT, syscall.SIGKILL)
		said, _ := io.ReadAll(io.NewSectionReader(log, before, 1<<20))
		if strings.Contains(string(said), "Address already in use") {
			err = errPortTaken
		}
		return nil, fmt.Errorf("start %s: %w; it said:\n%s", filepath.Base(cmd.Path), err, lastLines(string(said)))
	}
	return p, nil
}

func (p *process) await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("wait until it's ready: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// end sends the signals one after the other, each when the one before it has brought
// no end within its patience. Nothing outlives a final SIGKILL. What never began has ended.
func (p *process) end(patience time.Duration, signals ...syscall.Signal) error {
	if p == nil {
		return nil
	}
	for _, sig := range signals {
		_ = p.cmd.Process.Signal(sig) // fails only when it has ended, which done tells
		select {
		case <-p.done:
			return nil
		case <-time.After(patience):
		}
	}
	return fmt.Errorf("stop a server: process %d is still there after %v", p.cmd.Process.Pid, signals)
}

// lastLines returns the end of a log, for an error message.
func lastLines(text string) string {
	const n = 20
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// account is the user PostgreSQL runs as when that can't be ourselves. A nil account
// means ourselves.
type account struct {
	name     string
	uid, gid int
}

// serverAccount returns nil unless we are root: PostgreSQL refuses to run as root.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil // nil is an account: our own
	}
	for _, name := range []string{"postgres", "nobody"} {
		if a, err := lookupAccount(name); err == nil {
			return a, nil
		}
	}
	return nil, errors.New("find an account for PostgreSQL: it refuses to run as root, and this machine has none of the usual accounts; run this as another user")
}

func lookupAccount(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 31)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 31)
	return &account{name: name, uid: int(uid), gid: int(gid)}, errors.Join(errUID, errGID)
}

// mkdir makes a directory only the account can enter.
func (a *account) mkdir(path string) error { return a.own(path, os.MkdirAll(path, 0o700)) }

// writeFile makes a file that only the account and root read.
func (a *account) writeFile(path, text string) error {
	return a.own(path, os.WriteFile(path, []byte(text), 0o600))
}

// own gives the account what was just made.
func (a *account) own(path string, err error) error {
	if err == nil && a != nil {
		err = os.Chown(path, a.uid, a.gid)
	}
	if err != nil {
		return fmt.Errorf("make the server's files for %s: %w", a, err)
	}
	return nil
}

func (a *account) String() string {
	if a == nil {
		return "this user"
	}
	return "user " + a.name
}

func credential(a *account) *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // parsed as 31 bits
}
