//go:build unix

package pgserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
)

// ownerEnv makes this binary start a server, print where it is, and wait to be killed.
const ownerEnv = "ROLLCALL_PGSERVER_OWNER"

func own() {
	s, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.Dir(), s.proc.cmd.Process.Pid)
	select {} // until killed
}

// killedOwner returns the directory and the server's process of an owner just killed.
func killedOwner(t *testing.T, tmp string) (dir string, pid int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), ownerEnv+"=1", "TMPDIR="+tmp)
	out := must.Get(cmd.StdoutPipe())(t)
	must.Do(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	dir, number, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("owner said %q", line)
	}
	return dir, pid
}

func TestServerDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Log("this system doesn't end children with their parent; the next start does: TestNextStartSweeps")
		return
	}
	dir, pid := killedOwner(t, reachable(t))
	for deadline := time.Now().Add(10 * time.Second); strings.Contains(commandLine(pid), dir); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server still runs: %s", commandLine(pid))
		}
	}
}

func TestNextStartSweeps(t *testing.T) {
	t.Parallel()
	tmp := reachable(t)
	dir, pid := killedOwner(t, tmp)
	kept := filepath.Join(tmp, homePrefix()+"young") // one that is just being made
	must.Do(t, os.Mkdir(kept, 0o700))
	sweep(tmp)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("directory of a killed owner: %v", err)
	}
	if got := commandLine(pid); strings.Contains(got, dir) {
		t.Errorf("server of a killed owner: %s", got)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("directory that is just being made: %v", err)
	}
}
