//go:build unix

// Package pgtest gives every test a new database on a real PostgreSQL server. It hides where the server comes from, and
// that all test processes of a run share one: it starts with the first test that asks, and ends two seconds after the
// last process. A machine without PostgreSQL fails the tests and says how to get it; nothing is ever skipped.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) } // in every package that uses it
//
//	conn := pgtest.Connect(t, pgtest.New(t))
//	conn.WantRows("select 1", "1")
package pgtest

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/testtag"
)

// patience is the longest time of a single step on the server; only a broken server needs that long.
const patience = time.Minute

// mainRan guards New: without Main in the test binary, starting the binary again as the
// supervisor would run its tests again, each of which would start it again.
var mainRan bool

// Main runs the tests and exits. The supervisor of the shared server is the same binary, started again with
// supervisorEnv, and begins here, too.
func Main(m *testing.M) { os.Exit(Wrap(m).Run()) }

// Wrap is Main for a package whose TestMain hands its tests to another runner, such as testscript.Main: hand over
// the result in the place of m.
func Wrap(m *testing.M) interface{ Run() int } { return wrapped{m} }

type wrapped struct{ m *testing.M }

// Run runs the tests, or acts as the supervisor, and returns the exit code.
func (w wrapped) Run() int {
	if dir := os.Getenv(supervisorEnv); dir != "" {
		return supervise(dir)
	}
	mainRan = true
	overlap()
	return w.m.Run()
}

// overlap raises the number of parallel tests, which go test takes from the number of cores: most
// of these tests wait for a server. A -parallel on the command line counts.
func overlap() {
	const atOnce = 8
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if f := flag.Lookup("test.parallel"); !given && !testtag.Timing && runtime.GOMAXPROCS(0) < atOnce {
		_ = f.Value.Set(strconv.Itoa(atOnce)) // a number is a value of it
	}
}

// The shared server of this process, acquired once and held until the process ends.
var shared = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	return acquire(ctx)
})

// New makes an empty database for this test and returns its URL. The database is dropped with the test, even if it
// is in use.
func New(t testing.TB) string { return NewWith(t) }

// NewWith is New with SQL to run in the new database; each text may have any number of statements, which are one
// transaction.
func NewWith(t testing.TB, sqls ...string) string {
	t.Helper()
	if !mainRan {
		t.Fatal("make a database: this package needs func TestMain(m *testing.M) { pgtest.Main(m) }")
	}
	server, err := shared()
	if err != nil {
		t.Fatalf("make a database: %v", err)
	}
	name := databaseName(t.Name())
	// template0 takes no connections, so nothing can be in the way of copying it
	if err := execute(server, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatalf("make a database: %v", err)
	}
	atEnd(t, "drop the database of the test", func() error {
		return execute(server, "DROP DATABASE "+name+" WITH (FORCE)")
	})
	database := withDatabase(server, name)
	if err := execute(database, sqls...); err != nil {
		t.Fatalf("fill the database: %v", err)
	}
	return database
}

// StartServer starts a server of the test's own, to stop, kill and restart, and closes
// it with the test. It has the settings of the shared one unless opt says otherwise.
func StartServer(t testing.TB, opt pgserver.Options) *pgserver.Server {
	t.Helper()
	own := opt.Settings
	opt.Settings = settings()
	maps.Copy(opt.Settings, own)
	server, err := pgserver.Start(t.Context(), opt)
	if err != nil {
		t.Fatalf("start a server: %v", err)
	}
	atEnd(t, "close the server of the test", server.Close)
	return server
}

// Pooled puts a PgBouncer of the test's own before a database, with settings as in
// pgbouncer.ini, and returns the database's URL through it. The bouncer goes with the test.
func Pooled(t testing.TB, database string, settings map[string]string) string {
	t.Helper()
	b, err := pgserver.StartBouncer(t.Context(), database, settings)
	if err != nil {
		t.Fatalf("start a pooler: %v", err)
	}
	atEnd(t, "close the pooler of the test", b.Close)
	return b.URL(database)
}

// atEnd does something when the test has ended; an error fails it.
func atEnd(t testing.TB, what string, do func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// settings are those of every server for tests. The time zone is one that is never UTC,
// with a summer time and an offset of 12 hours and 45 minutes: it brings out code that
// leans on the server's.
func settings() map[string]string {
	return map[string]string{
		"TimeZone": "Pacific/Chatham", "log_timezone": "UTC",
		"max_connections": "300", "max_locks_per_transaction": "256", "max_prepared_transactions": "0", "deadlock_timeout": "1s",
		"max_wal_size": "256MB", // the directory may be in memory
		"autovacuum":   "on", "wal_level": "minimal", "max_wal_senders": "0",
	}
}

// As returns the URL of a database for another role that the test has made. The server asks each role for a
// password, so the role gets the password of the URL.
func As(t testing.TB, database, role string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	u.User = url.UserPassword(role, password)
	alter := fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", pgx.Identifier{role}.Sanitize(), password)
	if err := execute(database, alter); err != nil {
		t.Fatalf("give role %s a password: %v", role, err)
	}
	return u.String()
}

var unfit = regexp.MustCompile(`[^a-z0-9]+`)

// databaseName is unique over all processes, and says whose it is to a reader who looks
// at the server while a test hangs. It needs no quotes.
func databaseName(test string) string {
	readable := strings.Trim(unfit.ReplaceAllString(strings.ToLower(test), "_"), "_")
	return "t_" + readable[:min(len(readable), 30)] + "_" + strings.ToLower(rand.Text()) // 26 characters
}

func withDatabase(server, name string) string {
	u, err := url.Parse(server)
	if err != nil {
		panic(err) // we wrote it ourselves
	}
	u.Path = "/" + name
	return u.String()
}

// execute runs each text in a connection of its own making. It takes no context: a
// test's own is over when its database has to go.
func execute(database string, sqls ...string) error {
	if len(sqls) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range sqls {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("run %.60q: %w", sql, err)
		}
	}
	return nil
}
