//go:build unix

package pgserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
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
	dir, err := os.MkdirTemp("/tmp", "pgserver-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, opt Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
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
	answer, err := query(t.Context(), s, sql)
	if err != nil {
		t.Fatal(err)
	}
	return answer
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
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		<-s.Exited()
		if _, err := query(t.Context(), s, "SELECT 'x'"); err == nil {
			t.Errorf("%s: the server still answers", name)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatalf("Restart after %s: %v", name, err)
		}
		mustQuery(t, s, "SELECT 'x'")
	}
	if err := s.Restart(t.Context()); err != nil { // of a running one
		t.Fatal(err)
	}
	mustQuery(t, s, "SELECT 'x'")
	if got := s.URL("postgres"); got != address {
		t.Errorf("address after restarts: got %s, want %s", got, address)
	}
}

func TestCommittedSurvivesKill(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Durable: true})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'kept'::text AS word"); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection outlived the server")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := mustQuery(t, s, "SELECT word || current_setting('fsync') FROM kept"), "kepton"; got != want {
		t.Errorf("after Kill and Restart: got %s, want %s", got, want)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	dir, pid := s.Dir(), s.proc.cmd.Process.Pid
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s after Close: %v", dir, err)
	}
	if got := commandLine(pid); got != "" {
		t.Errorf("process after Close: %s", got)
	}
}

func TestGivenDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "server")
	one := start(t, Options{Dir: dir})
	mustQuery(t, one, "SELECT 'x'")
	if _, err := Start(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process runs a server there") {
		t.Errorf("second server in one directory: got %v", err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	two := start(t, Options{Dir: dir})
	t.Log("start with a cluster:", time.Since(begin))
	mustQuery(t, two, "SELECT 'x'")
}

func TestTakesOverFromAnOrphan(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), "server")
	one := start(t, Options{Dir: dir})
	// as if its owner had been killed where the system doesn't end children with it
	if err := one.home.lock.Close(); err != nil {
		t.Fatal(err)
	}
	one.home.lock = nil
	two := start(t, Options{Dir: dir})
	select {
	case <-one.Exited():
	default:
		t.Error("the orphan still runs")
	}
	mustQuery(t, two, "SELECT 'x'")
}

func TestForeignPidIsLeftAlone(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	pidFile := filepath.Join(data, "postmaster.pid")
	// our parent lives, and it's no server of this directory
	if err := os.WriteFile(pidFile, []byte("1\n"+data+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stopForeign(os.Getppid(), data); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(os.Getppid(), 0); errors.Is(err, syscall.ESRCH) {
		t.Errorf("our parent after stopForeign: %v", err)
	}
	if err := stopOrphan(data); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
		t.Errorf("pid file of nobody: %v", err)
	}
}

func TestBadSettingIsReported(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Options{Settings: map[string]string{"max_connections": "many"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections"`) {
		t.Errorf("got %v, want what the server said", err)
	}
}

func TestPortTakenIsRecognised(t *testing.T) {
	t.Parallel()
	one, two := start(t, Options{}), start(t, Options{})
	port := two.port
	two.port = one.port
	err := two.Restart(t.Context())
	if err == nil || !strings.Contains(err.Error(), errPortTaken.Error()) {
		t.Errorf("got %v, want %v", err, errPortTaken)
	}
	two.port = port
	if err := two.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnreachableTmpFallsBack(t *testing.T) {
	tmp := filepath.Join(reachable(t), "closed")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
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
