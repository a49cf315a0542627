package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testlog"
)

func TestMain(m *testing.M) {
	testscript.Main(tests{pgtest.Wrap(m)}, map[string]func(){"rollcall": main})
}

// tests removes what the tests have built when all have run.
type tests struct{ all interface{ Run() int } }

func (t tests) Run() int {
	defer func() { _ = os.RemoveAll(builtIn) }()
	return t.all.Run()
}

// The made-up secrets of the tests.
const (
	clerkSecret    = "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ=="
	supabaseSecret = "v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ=="
	databaseSecret = "test-secret-of-the-database-endpoint"
	adminToken     = "test-token-of-the-admin-api"
)

// twoSources is a configuration with every endpoint open. Its variables are in env.
const twoSources = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
admin_token: ${ADMIN_TOKEN}
sources:
  clerk:
    provider: clerk
    signing_secrets: ["${CLERK_SECRET}"]
    instance_id: ins_2abcInstance000000000000000
  supabase:
    provider: supabase
    signing_secrets: ["${SUPABASE_SECRET}"]
    database_webhook: {secrets: ["${DATABASE_SECRET}"]}
limits: {body: 1MiB, wait: 3s}
`

const shopTargets = `
targets:
  profiles:
    table: public.profiles
    key: id
    set: {id: new.id, email: new.email}
    on_insert:
      name: coalesce(new.full_name, '')
      role: "'customer'"
    on_delete: delete
`

const shopTables = `create table profiles (id text primary key, email text, name text not null, role text not null, visits int not null default 0)`

func env(database string) func(string) string {
	values := map[string]string{
		"DATABASE_URL": database, "ADMIN_TOKEN": adminToken, "CLERK_SECRET": clerkSecret,
		"SUPABASE_SECRET": supabaseSecret, "DATABASE_SECRET": databaseSecret,
	}
	return func(name string) string { return values[name] }
}

// journal collects log lines and waits for them.
type journal struct{ testlog.Log }

// await returns the last line with a message once there are n of them.
func (j *journal) await(t testing.TB, message string, n int) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := j.Lines(message); len(found) >= n {
			return found[n-1]
		}
	}
	t.Fatalf("no %d lines %q in the log:\n%s", n, message, j)
	return nil
}

// await waits until a query is true.
func await(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if !trueBy(t, conn, time.Now().Add(20*time.Second), sql) {
		t.Fatalf("not true within 20 s: %s", sql)
	}
}

// trueBy repeats a query until it is true, and reports whether it was by a deadline.
func trueBy(t testing.TB, conn *pgx.Conn, deadline time.Time, sql string) bool {
	t.Helper()
	for {
		var is bool
		must.Do(t, conn.QueryRow(t.Context(), sql, pgx.QueryExecModeSimpleProtocol).Scan(&is))
		if is || time.Now().After(deadline) {
			return is
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// instance is a serve that runs in this process.
type instance struct {
	t             testing.TB
	public, admin string // base URLs
	log           *journal
	stop          func() int // ends it and returns its exit code
}

// startServe runs serve on free ports with a configuration and waits until it listens.
func startServe(t testing.TB, yaml string, getenv func(string) string) *instance {
	t.Helper()
	file := configFile(t, yaml)
	log := &journal{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, environment{[]string{"serve", "-c", file}, getenv, strings.NewReader(""), io.Discard, log})
	}()
	stop := sync.OnceValue(func() int { cancel(); return <-ended })
	t.Cleanup(func() { stop() })
	line := log.await(t, "listening", 1)
	return &instance{t, fmt.Sprint("http://", line["listen"]), fmt.Sprint("http://", line["admin_listen"]), log, stop}
}

// startShop is a serve on a fresh database with the shop's table, ready.
func startShop(t testing.TB) (*instance, *pgx.Conn) {
	t.Helper()
	url := pgtest.NewWith(t, shopTables)
	in := startServe(t, twoSources+shopTargets, env(url))
	in.log.await(t, "ready", 1)
	return in, connect(t, url)
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn := must.Get(pgx.Connect(t.Context(), url))(t)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// newSource speaks like a provider.
func newSource(t testing.TB, provider string) *source.Source {
	t.Helper()
	cfg := source.Config{Name: provider, Provider: provider, SigningSecrets: []string{clerkSecret}}
	if provider == source.Supabase {
		cfg.SigningSecrets = []string{supabaseSecret}
		cfg.WebhookHeader, cfg.WebhookSecrets = "X-Webhook-Secret", []string{databaseSecret}
	}
	src := must.Get(source.New(cfg))(t)
	return src
}

// signed is a request as the provider would send it now.
func signed(t testing.TB, provider string, endpoint source.Endpoint, body string) *http.Request {
	t.Helper()
	header := must.Get(newSource(t, provider).Sign(endpoint, []byte(body)))(t)
	path := "/webhooks/" + provider
	if endpoint == source.Database {
		path += "/database"
	}
	r := must.Get(http.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body)))(t)
	r.Header = header
	return r
}

// send sends a request to the public listener and returns status, outcome and body.
func (in *instance) send(r *http.Request) (int, string, string) {
	in.t.Helper()
	base := must.Get(http.NewRequestWithContext(r.Context(), http.MethodGet, in.public, http.NoBody))(in.t)
	r.URL.Scheme, r.URL.Host = base.URL.Scheme, base.URL.Host
	response, err := http.DefaultClient.Do(r)
	must.Do(in.t, err)
	defer response.Body.Close()
	body := must.Get(io.ReadAll(response.Body))(in.t)
	return response.StatusCode, response.Header.Get("Rollcall-Outcome"), string(body)
}

// get asks a URL and returns status and body.
func get(t testing.TB, url, token string) (int, string) {
	t.Helper()
	r := must.Get(http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody))(t)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	must.Do(t, err)
	defer response.Body.Close()
	body := must.Get(io.ReadAll(response.Body))(t)
	return response.StatusCode, string(body)
}

// openDir is a temporary directory that PostgreSQL's own user can enter, too.
func openDir(t testing.TB) string {
	t.Helper()
	dir := must.Get(os.MkdirTemp("/tmp", "rollcall-demo-test-"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must.Do(t, os.Chmod(dir, 0o755))
	return dir
}
