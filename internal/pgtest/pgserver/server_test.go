//go:build unix

package pgserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"rollcall/internal/must"
)

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		own()
	}
	goleak.VerifyTestMain(m)
}

// reachable returns a directory that the server's user can enter, unlike t.TempDir.
func reachable(t *testing.T) string {
	t.Helper()
	dir := must.Get(os.MkdirTemp("/tmp", "pgserver-"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must.Do(t, os.Chmod(dir, 0o711))
	return dir
}

func start(t *testing.T, opt Options) *Server {
	t.Helper()
	s := must.Get(Start(t.Context(), opt))(t)
	t.Cleanup(func() { must.Do(t, s.Close()) })
	return s
}

func query(ctx context.Context, s *Server, sql string) (string, error) {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	var answer string
	err = conn.QueryRow(ctx, sql).Scan(&answer)
	return answer, err
}

func mustQuery(t *testing.T, s *Server, sql string) string {
	t.Helper()
	return must.Get(query(t.Context(), s, sql))(t)
}

func TestStopKillRestart(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	s := start(t, Options{})
	t.Log("first start:", time.Since(begin))
	address := s.URL("postgres")
	mustQuery(t, s, "WITH made AS (SELECT 1) SELECT set_config('a.b', 'c', false) FROM made")
	for name, end := range map[string]func() error{"Stop": s.Stop, "Kill": s.Kill} {
		mustQuery(t, s, "SELECT pg_notify('x', 'y')::text")
		must.Do(t, end())
		<-s.Exited()
		if _, err := query(t.Context(), s, "SELECT 'x'"); err == nil {
			t.Errorf("%s: the server still answers", name)
		}
		must.Do(t, s.Restart(t.Context()))
		mustQuery(t, s, "SELECT 'x'")
	}
	must.Do(t, s.Restart(t.Context())) // of a running one
	mustQuery(t, s, "SELECT 'x'")
	if got := s.URL("postgres"); got != address {
		t.Errorf("address after restarts: got %s, want %s", got, address)
	}
}

func TestCommittedSurvivesKill(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Durable: true})
	conn := must.Get(pgx.Connect(t.Context(), s.URL("postgres")))(t)
	must.Get(conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'kept'::text AS word"))(t)
	must.Do(t, s.Kill())
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection outlived the server")
	}
	must.Do(t, s.Restart(t.Context()))
	if got, want := mustQuery(t, s, "SELECT word || current_setting('fsync') FROM kept"), "kepton"; got != want {
		t.Errorf("after Kill and Restart: got %s, want %s", got, want)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	dir, pid := s.Dir(), s.proc.cmd.Process.Pid
	must.Do(t, s.Close())
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s after Close: %v", dir, err)
	}
	if got := commandLine(pid); got != "" {
		t.Errorf("process after Close: %s", got)
	}
}

func TestSweepEndsAnOrphan(t *testing.T) {
	t.Parallel()
	tmp := reachable(t)
	one := startIn(t, tmp)
	// as if its owner had been killed where the system doesn't end children with it
	must.Do(t, one.home.lock.Close())
	sweep(tmp)
	select {
	case <-one.Exited():
	case <-time.After(10 * time.Second):
		t.Error("the orphan still runs")
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("left by the sweep: %v", left)
	}
}

// A directory with a living owner is not swept.
func TestSweepLeavesTheLivingAlone(t *testing.T) {
	t.Parallel()
	tmp := reachable(t)
	one := startIn(t, tmp)
	sweep(tmp)
	mustQuery(t, one, "SELECT 'x'")
}

// startIn starts a server below a directory.
func startIn(t *testing.T, root string) *Server {
	t.Helper()
	a := must.Get(serverAccount())(t)
	bin := must.Get(newFinder(a).find(t.Context()))(t)
	h := &home{account: a}
	must.Do(t, h.open(t.Context(), root, bin))
	s := &Server{bin: bin, home: h}
	t.Cleanup(func() { must.Do(t, s.Close()) })
	must.Do(t, s.boot(t.Context()))
	return s
}

func TestForeignPidIsLeftAlone(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	pidFile := filepath.Join(data, "postmaster.pid")
	// our parent lives, and it's no server of this directory
	must.Do(t, os.WriteFile(pidFile, []byte("1\n"+data+"\n"), 0o600))
	must.Do(t, stopForeign(os.Getppid(), data))
	if err := syscall.Kill(os.Getppid(), 0); errors.Is(err, syscall.ESRCH) {
		t.Errorf("our parent after stopForeign: %v", err)
	}
	must.Do(t, stopOrphan(data))
}

func TestBadSettingIsReported(t *testing.T) {
	t.Parallel()
	must.Fail(t, must.Err(Start(t.Context(), Options{Settings: map[string]string{"max_connections": "many"}})), nil, `invalid value for parameter "max_connections"`)
}

func TestPortTakenIsRecognised(t *testing.T) {
	t.Parallel()
	one, two := start(t, Options{}), start(t, Options{})
	port := two.port
	two.port = one.port
	must.Fail(t, two.Restart(t.Context()), nil, errPortTaken.Error())
	two.port = port
	must.Do(t, two.Restart(t.Context()))
}

func TestUnreachableTmpFallsBack(t *testing.T) {
	tmp := filepath.Join(reachable(t), "closed")
	must.Do(t, os.Mkdir(tmp, 0o700))
	t.Setenv("TMPDIR", tmp)
	s := start(t, Options{})
	want := tmp
	if os.Geteuid() == 0 {
		want = "/tmp"
	}
	if got := filepath.Dir(s.Dir()); got != want {
		t.Errorf("directory of the server's: got %s, want %s", got, want)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); want != tmp && len(left) > 0 {
		t.Errorf("left in TMPDIR: %v", left)
	}
}

// Another local user has no password and is refused, there is no other way in, and nothing that
// others can read holds the password.
func TestOtherLocalUsersAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	u := must.Get(url.Parse(s.URL("postgres")))(t)
	password, _ := u.User.Password()
	mustQuery(t, s, "SELECT 'x'") // the password is right
	for _, user := range []*url.Userinfo{url.User("postgres"), url.UserPassword("postgres", "guess"), url.User(strings.Repeat("a", 8))} {
		u.User = user
		conn, err := pgx.Connect(t.Context(), u.String())
		if err == nil {
			_ = conn.Close(t.Context())
		}
		if refusal := (*pgconn.PgError)(nil); !errors.As(err, &refusal) || refusal.Code != "28P01" {
			t.Errorf("as %s without the password: got %v, want 28P01", user.Username(), err)
		}
	}
	if sockets := mustQuery(t, s, "SELECT current_setting('unix_socket_directories')"); sockets != "" {
		t.Errorf("there is a socket in %s", sockets)
	}
	if args := commandLine(s.proc.cmd.Process.Pid); password == "" || strings.Contains(args, password) {
		t.Errorf("the arguments of the server are %s", args)
	}
	for _, file := range []string{s.home.hbaPath(), s.home.passwordPath(), s.home.data()} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v; want it closed to others", file, info.Mode(), err)
		}
	}
	if said, err := os.ReadFile(s.home.logPath()); err != nil || strings.Contains(string(said), password) {
		t.Errorf("the log holds the password, or %v", err)
	}
}

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
	return dir, must.Get(strconv.Atoi(number))(t)
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
