package deploy

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
	"rollcall/internal/testlog"
)

// madeUpVersion is given as the build argument VERSION.
const madeUpVersion = "9.8.7-test"

// image is what the Dockerfile builds: its last stage and where its files lie.
type image struct {
	stage

	files map[string]string
}

// TestImage builds the image's binary as the Dockerfile says and lives through a deployment
// with it.
func TestImage(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Log("an image is for Linux; the build is checked for this system only")
	}
	stages := readDockerfile(t)
	first, last := stages[0], stages[len(stages)-1]
	im := image{last, last.collect(t, first, build(t, first, map[string]string{"VERSION": madeUpVersion}))}
	t.Run("static", im.static)
	t.Run("version", im.version)
	t.Run("deployment", im.deployment)
}

// static: nothing is loaded at run time, for there is nothing else in the image.
func (im image) static(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	file := must.Get(elf.Open(im.files[im.argv(t, "ENTRYPOINT")[0]]))(t)
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary wants a dynamic loader")
		}
	}
	libraries, err := file.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("the binary wants the libraries %q, %v", libraries, err)
	}
}

func (im image) version(t *testing.T) {
	out, err := im.command(t.Context(), im.argv(t, "ENTRYPOINT")[0], "version").Output()
	if want := "rollcall " + madeUpVersion + " go"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("version prints %q, want %s…; %v", out, want, err)
	}
}

// command is a program of the image, in an empty environment.
func (im image) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, im.files[argv[0]], argv[1:]...)
	cmd.Env = []string{} // nil would be ours
	return cmd
}

// container is a program that runs as compose would run it.
type container struct {
	image

	env           []string
	public, admin string // base URLs
	log           *testlog.Log
	done          chan error
	cmd           *exec.Cmd
}

// newContainer has rollcall.yaml on two free ports, the environment of the compose file,
// and the test's database in the place of the service postgres.
func (im image) newContainer(t *testing.T, app *fixture.Database) *container {
	t.Helper()
	env := environment(t)
	cfg, _ := configuration(t, env)
	public, admin := freePort(t), freePort(t)
	yaml := read(t, "rollcall.yaml")
	for from, to := range map[string]string{
		"\nlisten: " + cfg.Listen: "\nlisten: :" + public, "\nadmin_listen: " + cfg.AdminListen: "\nadmin_listen: 0.0.0.0:" + admin,
	} {
		if strings.Count(yaml, from) != 1 {
			t.Fatalf("rollcall.yaml has no line %q", from)
		}
		yaml = strings.Replace(yaml, from, to, 1)
	}
	file := filepath.Join(t.TempDir(), "rollcall.yaml")
	must.Do(t, os.WriteFile(file, []byte(yaml), 0o600))
	env["DATABASE_URL"], env["ROLLCALL_CONFIG"] = redirected(t, env["DATABASE_URL"], "", app), file
	c := &container{image: im, public: "http://127.0.0.1:" + public, admin: "http://127.0.0.1:" + admin, log: &testlog.Log{}}
	for name, value := range env {
		c.env = append(c.env, name+"="+value)
	}
	return c
}

// freePort is a port on which nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	return fmt.Sprint(must.Get(pgserver.FreePort(t.Context()))(t))
}

// start runs ENTRYPOINT with CMD until the test ends.
func (c *container) start(t *testing.T) {
	t.Helper()
	c.cmd = c.command(context.Background(), append(c.argv(t, "ENTRYPOINT"), c.argv(t, "CMD")...)...)
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = c.env, c.log, c.log
	must.Do(t, c.cmd.Start())
	c.done = make(chan error, 1)
	go func() { c.done <- c.cmd.Wait(); close(c.done) }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended long ago
		for range c.done {       // until it is closed
			continue
		}
	})
}

// health runs the HEALTHCHECK and returns its exit code.
func (c *container) health(t *testing.T) int {
	t.Helper()
	cmd := c.command(t.Context(), c.argv(t, "HEALTHCHECK")...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); !exited {
		must.Do(t, err)
	}
	t.Logf("health: %s", out)
	return cmd.ProcessState.ExitCode()
}

// deployment: two replicas begin at once on an empty database, take webhooks, are healthy
// while they run, offer metrics, and end when asked to.
func (im image) deployment(t *testing.T) {
	app := startApplication(t, initSQL(t, secrets)...)
	one, two := im.newContainer(t, app), im.newContainer(t, app)
	if got := one.health(t); got != 1 {
		t.Errorf("health exits with %d while nothing runs, want 1", got)
	}
	one.start(t)
	two.start(t)
	for _, c := range []*container{one, two} {
		must.Await(t, "ready", func() bool {
			return status(c.admin+"/readyz") == http.StatusOK
		}, c.log)
		if got := c.health(t); got != 0 {
			t.Errorf("health exits with %d while it runs, want 0:\n%s", got, c.log)
		}
	}
	one.webhooks(t, two, app)
	must.Equal(t, status(one.admin+"/metrics"), http.StatusOK, "the admin listener's answer to /metrics")
	must.Equal(t, status(one.public+"/metrics"), http.StatusNotFound, "the public listener's answer to /metrics")
	for _, c := range []*container{one, two} {
		c.stop(t)
	}
	if got := one.health(t); got != 1 {
		t.Errorf("health exits with %d after the end, want 1", got)
	}
}

// stop asks for the end as docker stop does.
func (c *container) stop(t *testing.T) {
	t.Helper()
	must.Do(t, c.cmd.Process.Signal(syscall.SIGTERM))
	if err := <-c.done; err != nil {
		t.Errorf("serve ends with %v:\n%s", err, c.log)
	}
}

// status asks a URL; it is 0 when no process answers.
func status(url string) int {
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// webhooks sends to both replicas what shows that every target can be written: an insert,
// an update and the end of a user.
func (c *container) webhooks(t *testing.T, other *container, app *fixture.Database) {
	t.Helper()
	const database = `"table":"users","schema":"auth"`
	const ann = `{"id":"7f0bd5ca-4825-492f-8fad-f04fa0b080d2","email":"%s","raw_user_meta_data":{"first_name":"Ann"},"updated_at":"2026-01-0%dT00:00:00Z"}`
	first, second := fmt.Sprintf(ann, "ann@example.com", 1), fmt.Sprintf(ann, "ann@example.org", 2)
	rows := func(want string) {
		t.Helper()
		var got string
		err := app.SQL.QueryRow(t.Context(), `select concat_ws('|',
			(select count(*) from public.profiles), (select string_agg(coalesce(email, 'gone'), ',') from deadstock.users),
			(select string_agg(name, ',') from public."Member"), (select count(*) from rollcall.parked))`).Scan(&got)
		if err != nil || got != want {
			t.Errorf("profiles|deadstock.users|Member|parked are %s, %v; want %s", got, err, want)
		}
	}
	c.send(t, source.Database, `{"type":"INSERT",`+database+`,"record":`+first+`,"old_record":null}`)
	c.send(t, source.Hook, read(t, "../internal/source/testdata/clerk/user.created.full.json"))
	rows("1|ann@example.com|Ada Lovelace|0")
	other.send(t, source.Database, `{"type":"UPDATE",`+database+`,"record":`+second+`,"old_record":`+first+`}`)
	rows("1|ann@example.org|Ada Lovelace|0")
	other.send(t, source.Hook, read(t, "../internal/source/testdata/clerk/user.deleted.minimal.json"))
	c.send(t, source.Database, `{"type":"DELETE",`+database+`,"record":null,"old_record":`+second+`}`)
	rows("0|gone|0")
}

// send signs a body as Clerk's, at the endpoint of database webhooks as Supabase's, and wants it applied.
func (c *container) send(t *testing.T, endpoint source.Endpoint, body string) {
	t.Helper()
	cfg := source.Config{Name: "clerk", Provider: source.Clerk, SigningSecrets: []string{secrets["CLERK_WEBHOOK_SIGNING_SECRET"]}}
	if endpoint == source.Database {
		cfg = source.Config{
			Name: "supabase", Provider: source.Supabase,
			WebhookHeader: "X-Webhook-Secret", WebhookSecrets: []string{secrets["SUPABASE_DB_WEBHOOK_SECRET"]},
		}
	}
	request := must.Get(testevent.Seal(must.Get(source.New(cfg))(t), endpoint, []byte(body)))(t)
	answer := must.Get(testevent.NewSender(c.public).Post(t.Context(), request))(t)
	if answer.Outcome != "applied" {
		t.Errorf("%s is %d %s, want applied:\n%s", body, answer.Status, answer.Outcome, c.log)
	}
}
