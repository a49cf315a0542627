//go:build timing

package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// takeover is how long the work of a replica that is stopped or cut off may lie.
const takeover = 30 * time.Second

const takeoverConfig = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources: {supabase: {provider: supabase}}
targets:
  profiles:
    table: public.profiles
    key: id
    set: {id: new.id, email: new.email}
    on_delete: delete
`

const takeoverTables = `create schema auth;
create table auth.users (id uuid primary key, email text, created_at timestamptz default now(), updated_at timestamptz default now());
create table profiles (id uuid primary key, email text)`

// A replica that holds the outbox is stopped, or its path to the database goes dead and then it is
// killed: PostgreSQL sees an open connection in both cases. The other replica takes over. What
// the first still submits when it goes on changes nothing.
func TestTakeoverOutbox(t *testing.T) {
	binary := build(t)
	for name, test := range map[string]struct{ freeze, thaw func(*process, *path) }{
		"stopped": {
			func(p *process, _ *path) { _ = p.cmd.Process.Signal(syscall.SIGSTOP) },
			func(p *process, _ *path) { _ = p.cmd.Process.Signal(syscall.SIGCONT) },
		},
		"cut off": {
			func(p *process, way *path) { way.freeze(); p.kill() },
			func(*process, *path) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.NewWith(t, takeoverTables)
			way, through := startPath(t, database)
			file := configFile(t, takeoverConfig)
			holder := startProcess(t, binary, file, env(through))
			conn := connect(t, database)
			holder.log.await(t, "ready", 1)
			mustRun(t, rollcallCommand(binary, file, database, "capture", "install"))
			holder.log.await(t, "a capture is watched", 1)
			other := startProcess(t, binary, file, env(database))
			other.log.await(t, "ready", 1)

			test.freeze(holder, way)
			signUp(t, database, 1, "one")
			began := time.Now()
			arrives(t, conn, "one", 2*takeover)
			took := time.Since(began)
			t.Logf("taken over after %s", took.Round(100*time.Millisecond))
			if took > takeover {
				t.Errorf("taken over after %s, want %s", took, takeover)
			}
			execute(t, database, "update auth.users set email = 'two', updated_at = updated_at + interval '1 s'")
			arrives(t, conn, "two", 10*time.Second)
			test.thaw(holder, way)
			signUp(t, database, 2, "three")
			arrives(t, conn, "three", 10*time.Second)
			time.Sleep(time.Second) // for what the first one may have kept
			arrives(t, conn, "two", time.Second)
		})
	}
}

// A backfill that is stopped in the middle of its walk gives its lock up; the next one goes on
// where it was.
func TestTakeoverBackfill(t *testing.T) {
	t.Parallel()
	binary := build(t)
	database := pgtest.NewWith(t, takeoverTables, `
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.01); return new; end $$;
create trigger slow before insert on profiles for each row execute function slow()`)
	file := configFile(t, takeoverConfig)
	mustRun(t, rollcallCommand(binary, file, database, "migrate"))
	conn := connect(t, database)
	execute(t, database, `insert into rollcall.users (source, id, version, email) select 'supabase', gen_random_uuid(), 1, n from generate_series(1, 1000) n`)
	first := rollcallCommand(binary, file, database, "backfill", "profiles")
	var said strings.Builder
	first.Stdout, first.Stderr = &said, &said
	must.Do(t, first.Start())
	within(t, "the walk has begun", 30*time.Second, func() bool { return count(t, conn, "select count(*) from profiles") > 0 })
	_ = first.Process.Signal(syscall.SIGSTOP)
	began := time.Now()
	var output []byte
	within(t, "another backfill has run", 2*takeover, func() bool {
		var err error
		output, err = rollcallCommand(binary, file, database, "backfill", "profiles").CombinedOutput()
		return err == nil
	})
	if took := time.Since(began); took > takeover+15*time.Second { // 1,000 rows take 10 s
		t.Errorf("it ended after %s", took)
	}
	if n := count(t, conn, "select count(*) from profiles"); n != 1000 {
		t.Errorf("%d rows, want 1000: %s", n, output)
	}
	_ = first.Process.Signal(syscall.SIGCONT)
	_ = first.Wait() // it may have had little left, and succeed
	if n := count(t, conn, "select count(*) from profiles"); n != 1000 {
		t.Errorf("%d rows after the first went on, want 1000: %s", n, said.String())
	}
	if n := count(t, conn, "select count(*) from rollcall.backfills where finished_at is not null"); n != 1 {
		t.Errorf("the backfill counts as unfinished after the first went on: %s", said.String())
	}
}

func rollcallCommand(binary, file, database string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append(args, "-c", file)...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+database)
	return cmd
}

func mustRun(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, output)
	}
}

func count(t *testing.T, conn *pgx.Conn, sql string) (n int) {
	t.Helper()
	must.Do(t, conn.QueryRow(t.Context(), sql).Scan(&n))
	return n
}

func signUp(t *testing.T, database string, n int, email string) {
	t.Helper()
	execute(t, database, fmt.Sprintf("insert into auth.users (id, email) values ('00000000-0000-0000-0000-%012d', '%s')", n, email))
}

// arrives waits until a row of the target has an e-mail.
func arrives(t *testing.T, conn *pgx.Conn, email string, patience time.Duration) {
	t.Helper()
	within(t, email+" has arrived", patience, func() bool {
		return count(t, conn, "select count(*) from profiles where email = '"+email+"'") == 1
	})
}

func within(t *testing.T, what string, patience time.Duration, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// path carries connections to a database until it is frozen: then it passes nothing on and closes
// nothing, as a network that drops packets.
type path struct {
	server string
	mu     sync.RWMutex // held for good by freeze
}

// startPath returns a path, and the database's URL through it.
func startPath(t *testing.T, database string) (*path, string) {
	t.Helper()
	u := must.Get(url.Parse(database))(t)
	listener := must.Get((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = listener.Close() })
	way := &path{server: u.Host}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go way.join(client)
		}
	}()
	u.Host = listener.Addr().String()
	return way, u.String()
}

func (w *path) freeze() { w.mu.Lock() }

func (w *path) join(client net.Conn) {
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", w.server)
	if err != nil {
		_ = client.Close()
		return
	}
	go w.carry(client, server)
	w.carry(server, client)
}

func (w *path) carry(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.RLock() // a frozen path stays here
		if err == nil {
			_, err = to.Write(buffer[:n])
		}
		w.mu.RUnlock()
		if err != nil {
			_ = to.Close()
			return
		}
	}
}
