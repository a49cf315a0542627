package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testlog"
)

func TestMain(m *testing.M) {
	testscript.Main(tests{pgtest.Wrap(m)}, map[string]func(){"rollcall": main, standIn: runStandIn})
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

// oneMachine begins a configuration on free ports. Its variables are in env.
const oneMachine = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
`

// Parts of a configuration: a source of each provider, with every endpoint of webhooks open, and what
// else they may have.
const (
	clerkSource = `  clerk:
    provider: clerk
    signing_secrets: ["${CLERK_SECRET}"]
`
	clerkInstance = "    instance_id: ins_2abcInstance000000000000000\n"

	supabaseSource = `  supabase:
    provider: supabase
    signing_secrets: ["${SUPABASE_SECRET}"]
    database_webhook: {secrets: ["${DATABASE_SECRET}"]}
`
	supabaseSession = "    session: {issuer: https://made-up.supabase.co/auth/v1, audience: authenticated, hs256_secret: " + jwtSecret + "}\n"

	openSources = "sources:\n" + clerkSource + supabaseSource
)

// twoSources is a configuration with every endpoint open.
const twoSources = oneMachine + "admin_token: ${ADMIN_TOKEN}\nsources:\n" +
	clerkSource + clerkInstance + supabaseSource + "limits: {body: 1MiB, wait: 3s}\n"

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

// nowhere is a database that nobody can reach.
const nowhere = "postgres://nobody@127.0.0.1:1/nowhere"

// variables are the names that env knows.
var variables = []string{"DATABASE_URL", "ADMIN_TOKEN", "CLERK_SECRET", "SUPABASE_SECRET", "DATABASE_SECRET"}

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
	var found []map[string]any
	if !soon(30*time.Second, func() bool { found = j.Lines(message); return len(found) >= n }) {
		t.Fatalf("no %d lines %q in the log:\n%s", n, message, j)
	}
	return found[n-1]
}

// soon repeats a look until it is so, and reports whether it was in time.
func soon(patience time.Duration, so func() bool) bool {
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// commandLine runs command lines with a configuration and its environment.
type commandLine struct {
	file   string
	getenv func(string) string
}

func newCLI(t testing.TB, yaml, database string) commandLine {
	t.Helper()
	return commandLine{configFile(t, yaml), env(database)}
}

// ran is what has come of a command line.
type ran struct {
	code     int
	out, log string // its standard output and standard error
}

func (r ran) String() string { return fmt.Sprintf("%s%sexit %d", r.out, r.log, r.code) }

// run runs a command line in this process.
func (c commandLine) run(ctx context.Context, args ...string) ran {
	var out, log strings.Builder
	code := run(ctx, cli.Env{
		Args: append(args, "-c", c.file), Getenv: c.getenv, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log,
	})
	return ran{code, out.String(), log.String()}
}

// command is a process of the built binary with a command line.
func (c commandLine) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(build(t), append(args, "-c", c.file)...)
	cmd.Env = os.Environ()
	for _, name := range variables {
		cmd.Env = append(cmd.Env, name+"="+c.getenv(name))
	}
	return cmd
}

// instance is a serve that runs in this process.
type instance struct {
	commandLine
	t             testing.TB
	public, admin string // base URLs
	log           *journal
	hangup        chan os.Signal
	stop          func() int // ends it and returns its exit code
	db            *fixture.Database
}

// startServe runs serve on free ports with a configuration and waits until it listens.
func startServe(t testing.TB, yaml string, getenv func(string) string) *instance {
	t.Helper()
	in := &instance{commandLine: commandLine{configFile(t, yaml), getenv}, t: t, log: &journal{}, hangup: make(chan os.Signal, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, cli.Env{
			Args: []string{"serve", "-c", in.file}, Getenv: getenv,
			Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: in.log, Hangup: in.hangup,
		})
	}()
	in.stop = sync.OnceValue(func() int { cancel(); return <-ended })
	t.Cleanup(func() { in.stop() })
	line := in.log.await(t, "listening", 1)
	in.public, in.admin = fmt.Sprint("http://", line["listen"]), fmt.Sprint("http://", line["admin_listen"])
	return in
}

// serveAt is a serve on a database, ready.
func serveAt(t testing.TB, yaml, database string) *instance {
	t.Helper()
	in := startServe(t, yaml, env(database))
	in.log.await(t, "ready", 1)
	in.db = fixture.At(t, database)
	return in
}

// startShop is a serve on a fresh database with the shop's table, ready.
func startShop(t testing.TB) *instance {
	t.Helper()
	return serveAt(t, twoSources+shopTargets, pgtest.NewWith(t, shopTables))
}

// newSource speaks like a provider.
func newSource(t testing.TB, provider string) *source.Source {
	t.Helper()
	cfg := source.Config{Name: provider, Provider: provider, SigningSecrets: []string{clerkSecret}}
	if provider == source.Supabase {
		cfg.SigningSecrets = []string{supabaseSecret}
		cfg.WebhookHeader, cfg.WebhookSecrets = "X-Webhook-Secret", []string{databaseSecret}
	}
	return must.Get(source.New(cfg))(t)
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

// clerkUser is a Clerk event about a user; more holds further members of data.
func clerkUser(kind, id string, more ...string) string {
	members := append([]string{`"id":"` + id + `"`, `"object":"user"`, `"updated_at":1760000000450`}, more...)
	return fmt.Sprintf(`{"object":"event","type":%q,"instance_id":"ins_2abcInstance000000000000000","timestamp":1760000000480,"data":{%s}}`, kind, strings.Join(members, ","))
}

// created is Clerk's webhook about a new user.
func created(t testing.TB, id string, more ...string) *http.Request {
	t.Helper()
	return signed(t, source.Clerk, source.Hook, clerkUser("user.created", id, more...))
}

// announcement is the body of Supabase's hook that asks whether a user may sign up.
func announcement(id, user string) string {
	return fmt.Sprintf(`{"metadata":{"uuid":%q,"name":"before-user-created"},"user":{"id":%q}}`, id, user)
}

// announced is a sign-up that asks a source whether it may go on.
func announced(t testing.TB, to, id string) *http.Request {
	t.Helper()
	r := signed(t, source.Supabase, source.Hook, announcement(id, "s_1"))
	r.URL.Path = "/webhooks/" + to
	return r
}

// send sends a request to the public listener and returns status, outcome and body.
func (in *instance) send(r *http.Request) (int, string, string) {
	in.t.Helper()
	r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(in.public, "http://")
	status, header, body := exchange(in.t, r)
	return status, header.Get("Rollcall-Outcome"), body
}

// exchange sends a request and reads the whole answer.
func exchange(t testing.TB, r *http.Request) (status int, header http.Header, body string) {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	must.Do(t, err)
	defer response.Body.Close()
	return response.StatusCode, response.Header, string(must.Get(io.ReadAll(response.Body))(t))
}

// heard is what a sender hears; its status is 0 when it hears nothing.
type heard struct {
	status  int
	outcome string
	retry   bool // with Retry-After
}

var unavailable = heard{503, "unavailable", true}

// accepted is what a sender hears that need not repeat itself.
func accepted(outcome string) heard { return heard{204, outcome, false} }

func (h heard) String() string { return fmt.Sprint(h.status, " ", h.outcome, " ", h.retry) }

// ask sends a webhook to a base URL as its provider would.
func ask(t testing.TB, base string, r *http.Request) heard {
	t.Helper()
	body := must.Get(r.GetBody())(t)
	again := must.Get(http.NewRequestWithContext(r.Context(), r.Method, base+r.URL.Path, body))(t)
	again.Header = r.Header
	response, err := http.DefaultClient.Do(again)
	if err != nil {
		return heard{}
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return heard{response.StatusCode, response.Header.Get("Rollcall-Outcome"), response.Header.Get("Retry-After") != ""}
}

// noting has a wait group wait until a request is written.
func noting(r *http.Request, written *sync.WaitGroup) *http.Request {
	written.Add(1)
	return r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { written.Done() },
	}))
}

// expect compares what the sender of a webhook hears.
func (in *instance) expect(r *http.Request, want heard) {
	in.t.Helper()
	if got := ask(in.t, in.public, r); got != want {
		in.t.Errorf("%s: got %v, want %v", r.URL.Path, got, want)
	}
}

// records sends an announcement until it is recorded: an answer waits a second for that, and a busy machine may
// take longer.
func (in *instance) records(r *http.Request) {
	in.t.Helper()
	late := false // an answer did not wait for the record
	must.Await(in.t, "the announcement is recorded", func() bool {
		got := ask(in.t, in.public, r)
		recorded := got == accepted("announced") || late && got == accepted("duplicate")
		late = true
		return recorded
	})
}

// get asks a URL and returns status and body.
func get(t testing.TB, url, token string) (int, string) {
	t.Helper()
	r := must.Get(http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody))(t)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	status, _, body := exchange(t, r)
	return status, body
}

// readiness asks /readyz.
func (in *instance) readiness() int {
	in.t.Helper()
	status, _ := get(in.t, in.public+"/readyz", "")
	return status
}

// wantReadiness compares what /readyz answers.
func (in *instance) wantReadiness(want int) {
	in.t.Helper()
	if status := in.readiness(); status != want {
		in.t.Errorf("readyz: got %d, want %d", status, want)
	}
}

// due makes a job due whose schedule is too slow for a test.
func (in *instance) due(job string) {
	in.t.Helper()
	in.db.Exec(`insert into rollcall.river_job (kind, args, max_attempts)
		values ('rollcall_job', jsonb_build_object('name', $1::text), 1)`, job)
}

// counts waits until the metrics hold each of these lines: an outcome is counted behind its commit.
func (in *instance) counts(lines ...string) {
	in.t.Helper()
	for _, line := range lines {
		must.Await(in.t, "the metrics have "+line, func() bool {
			_, metrics := get(in.t, in.admin+"/metrics", "")
			return strings.Contains(metrics, line+"\n")
		})
	}
}

// openDir is a temporary directory that PostgreSQL's own user can enter, too.
func openDir(t testing.TB) string {
	t.Helper()
	dir := must.Get(os.MkdirTemp("/tmp", "rollcall-demo-test-"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must.Do(t, os.Chmod(dir, 0o755))
	return dir
}
