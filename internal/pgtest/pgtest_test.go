//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"rollcall/internal/must"
	"rollcall/internal/pgtest/pgserver"
)

// childEnv makes this binary act as another test process: it asks for the shared
// server, prints its URL and holds on to it until its standard input ends.
const childEnv = "ROLLCALL_PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" && os.Getenv(supervisorEnv) == "" {
		actAsChild()
	}
	Main(m)
}

func actAsChild() {
	server, err := shared()
	if err != nil {
		fmt.Println("error:", err)
	} else {
		fmt.Println(server)
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

func ask(t *testing.T, database, sql string) string {
	t.Helper()
	conn := must.Get(pgx.Connect(t.Context(), database))(t)
	defer func() { _ = conn.Close(t.Context()) }()
	var answer string
	must.Do(t, conn.QueryRow(t.Context(), sql).Scan(&answer))
	return answer
}

func TestNewDatabasesDiffer(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	one := NewWith(t, "CREATE TABLE here (id int); INSERT INTO here VALUES (1)", "INSERT INTO here VALUES (2)")
	t.Log("first database:", time.Since(begin))
	begin = time.Now()
	two := New(t)
	t.Log("second database:", time.Since(begin))
	if got, want := ask(t, one, "SELECT count(*)::text FROM here"), "2"; got != want {
		t.Errorf("rows in the first database: got %s, want %s", got, want)
	}
	if got := ask(t, two, "SELECT coalesce(to_regclass('here')::text, 'none')"); got != "none" {
		t.Errorf("the second database has the table of the first: %s", got)
	}
}

func TestNewDropsTheDatabase(t *testing.T) {
	t.Parallel()
	var database string
	t.Run("one that leaves a connection", func(t *testing.T) {
		database = New(t)
		must.Get(pgx.Connect(t.Context(), database))(t)
	})
	must.Fail(t, must.Err(pgx.Connect(t.Context(), database)), nil, "does not exist")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	database := New(t)
	for name, want := range map[string]string{
		"TimeZone": "Pacific/Chatham", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "on",
		"max_connections": "300", "max_prepared_transactions": "0", "deadlock_timeout": "1s", "autovacuum": "on",
		"wal_level": "minimal", "server_encoding": "UTF8", "is_superuser": "on",
	} {
		if got := ask(t, database, "SELECT current_setting('"+name+"')"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestStartServer(t *testing.T) {
	t.Parallel()
	server := StartServer(t, pgserver.Options{Settings: map[string]string{"max_connections": "7"}})
	database := server.URL("postgres")
	if got, want := ask(t, database, "SELECT current_setting('max_connections') || current_setting('TimeZone')"), "7Pacific/Chatham"; got != want {
		t.Errorf("settings: got %s, want %s", got, want)
	}
}

// child is another test process.
type child struct {
	cmd    *exec.Cmd
	server string
}

// startChild starts one, which ends with the test.
func startChild(t *testing.T, tmp string) *child {
	t.Helper()
	c := must.Get(newChild(t.Context(), tmp))(t)
	t.Cleanup(c.kill)
	return c
}

func newChild(ctx context.Context, tmp string) (*child, error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1", "TMPDIR="+tmp)
	cmd.Stderr = os.Stderr
	_, errIn := cmd.StdinPipe() // its end, with this process, ends the child
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd}
	said, err := bufio.NewReader(out).ReadString('\n')
	c.server = strings.TrimSpace(said)
	if err != nil || !strings.HasPrefix(c.server, "postgres://") {
		c.kill()
		return nil, fmt.Errorf("child: got %q, %w", said, err)
	}
	return c, nil
}

// kill ends the process as badly as can be.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// temporary returns a directory for temporary files that the server's user can enter,
// unlike t.TempDir, with a path short enough for sockets. In the end it must be empty, and no process
// may work in it.
func temporary(t *testing.T) string {
	t.Helper()
	dir := must.Get(os.MkdirTemp("/tmp", "pgtest-"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Cleanup(func() { awaitNone(t, func() []string { return append(filesIn(dir), processesIn(dir)...) }) })
	must.Do(t, os.Chmod(dir, 0o711))
	return dir
}

func filesIn(tmp string) []string {
	files, _ := filepath.Glob(filepath.Join(tmp, "*"))
	return files
}

// awaitNone waits until nothing is left.
func awaitNone(t *testing.T, left func() []string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(left()) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("left behind after 10 s: %v", left())
		}
	}
}

// processesIn returns the processes that name the directory in their arguments or
// environment, without zombies, whose lists are empty. Only Linux tells.
func processesIn(tmp string) []string {
	var found []string
	lists, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, list := range lists {
		args, _ := os.ReadFile(list)
		env, _ := os.ReadFile(filepath.Join(filepath.Dir(list), "environ"))
		if strings.Contains(string(args)+string(env), tmp) {
			found = append(found, filepath.Dir(list)+" "+string(args))
		}
	}
	return found
}

// supervisorPid returns the process that holds the one server of a meeting place.
func supervisorPid(t *testing.T, tmp string) int {
	t.Helper()
	if homes, _ := filepath.Glob(filepath.Join(tmp, "rollcall-postgres-*")); len(homes) != 1 {
		t.Fatalf("servers: got %v, want one", homes)
	}
	return must.Get(strconv.Atoi(string(must.Get(os.ReadFile(filepath.Join(place(t, tmp), "pid")))(t))))(t)
}

func place(t *testing.T, tmp string) string {
	t.Helper()
	places, _ := filepath.Glob(filepath.Join(tmp, "rollcall-tests-*"))
	if len(places) != 1 {
		t.Fatalf("meeting places: got %v, want one", places)
	}
	return places[0]
}

func TestProcessesShareOneServer(t *testing.T) {
	t.Parallel()
	tmp := temporary(t)
	var children [4]*child
	var starting errgroup.Group
	for i := range children {
		starting.Go(func() (err error) {
			children[i], err = newChild(t.Context(), tmp)
			return err
		})
	}
	must.Do(t, starting.Wait())
	for _, c := range children {
		if c.server != children[0].server {
			t.Errorf("servers of two processes: got %s and %s, want one", c.server, children[0].server)
		}
		c.kill()
	}
}

func TestNothingRemains(t *testing.T) {
	t.Parallel()
	tmp := temporary(t)
	one, two := startChild(t, tmp), startChild(t, tmp)
	one.kill()
	time.Sleep(linger + time.Second)
	ask(t, two.server, "SELECT 'still there'")
}

// TestNewcomerMeetsALeavingSupervisor comes back again and again around the moment at
// which the supervisor gives up.
func TestNewcomerMeetsALeavingSupervisor(t *testing.T) {
	t.Parallel()
	tmp := temporary(t)
	for i := range 6 {
		c := startChild(t, tmp)
		ask(t, c.server, "SELECT 'there'")
		c.kill()
		time.Sleep(linger - 100*time.Millisecond + time.Duration(i)*60*time.Millisecond)
	}
}

func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	tmp := temporary(t)
	one := startChild(t, tmp)
	must.Do(t, syscall.Kill(supervisorPid(t, tmp), syscall.SIGKILL))
	one.kill()
	awaitNone(t, func() []string { // a signal takes its time to arrive
		conn, err := net.DialUnix("unix", nil, socket(place(t, tmp)))
		if err != nil {
			return nil
		}
		_ = conn.Close()
		return []string{"the supervisor"}
	})
	two := startChild(t, tmp) // cleans up and has a server of its own
	ask(t, two.server, "SELECT 'there'")
	supervisorPid(t, tmp) // there is one directory only
}

func TestSupervisorTerminated(t *testing.T) {
	t.Parallel()
	tmp := temporary(t)
	startChild(t, tmp)
	must.Do(t, syscall.Kill(supervisorPid(t, tmp), syscall.SIGTERM))
}

func TestServerDies(t *testing.T) {
	t.Parallel()
	tmp := temporary(t)
	one := startChild(t, tmp)
	conn := must.Get(pgx.Connect(t.Context(), one.server))(t)
	// as a crash would: the postmaster is the parent of the process that answers
	_, _ = conn.Exec(t.Context(), "COPY (SELECT 1) TO PROGRAM 'kill -QUIT $(head -1 postmaster.pid)'")
	_ = conn.Close(t.Context())
	awaitNone(t, func() []string { return filesIn(tmp) }) // while the first child lives
	two := startChild(t, tmp)
	ask(t, two.server, "SELECT 'there'")
}

// BenchmarkNew measures an empty database without its drop, which comes with the end.
func BenchmarkNew(b *testing.B) {
	New(b) // starts the server
	for b.Loop() {
		New(b)
	}
}
