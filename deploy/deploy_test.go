// Package deploy holds the files of a deployment; its tests are its only code. They check,
// without a container engine, that the image builds as the Dockerfile says and that all of
// these files agree with each other and with the program.
package deploy

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"rollcall/internal/app"
	"rollcall/internal/config"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/postgres"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func read(t testing.TB, file string) string {
	t.Helper()
	return string(must.Get(os.ReadFile(filepath.FromSlash(file)))(t))
}

// secrets fill .env in.
var secrets = map[string]string{
	"POSTGRES_PASSWORD":            "made-up-superuser",
	"ROLLCALL_DB_PASSWORD":         `made/up: p@ss'word"?`, // nothing a URL or SQL could take as it is
	"ROLLCALL_ADMIN_TOKEN":         "made-up-admin-token",
	"CLERK_WEBHOOK_SIGNING_SECRET": "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ==",
	"SUPABASE_AUTH_HOOK_SECRET":    "v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==",
	"SUPABASE_DB_WEBHOOK_SECRET":   "made-up-secret-of-database-webhooks",
}

// environment is what compose gives the service rollcall.
func environment(t testing.TB) map[string]string {
	t.Helper()
	values := compose(t).Services["rollcall"].Environment
	for name, value := range values {
		if value == "" {
			t.Fatalf("docker-compose.yml gives %s no value", name)
		}
	}
	return values
}

// configuration loads rollcall.yaml in an environment, as every command does.
func configuration(t testing.TB, env map[string]string) (*config.Config, []target.Target) {
	t.Helper()
	getenv := func(name string) string { return env[name] }
	setup := must.Get(app.Read("rollcall.yaml", []byte(read(t, "rollcall.yaml")), getenv))(t)
	return setup.Config, setup.Targets
}

// port is the port of host:port.
func port(t testing.TB, address string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	must.Do(t, err)
	return p
}

// startApplication starts a server and runs SQL in its database app, as the service postgres makes it.
func startApplication(t testing.TB, sqls ...string) *fixture.Database {
	t.Helper()
	server := pgtest.StartServer(t, pgserver.Options{})
	fixture.At(t, server.URL("postgres")).Exec("create database app")
	app := fixture.At(t, server.URL("app"))
	for _, sql := range sqls {
		app.Exec(sql)
	}
	return app
}

var (
	getenvLine  = regexp.MustCompile(`(?m)^\\getenv (\w+) (\w+)$`)
	psqlLiteral = regexp.MustCompile(`:'(\w+)'`)
)

// initSQL is what psql makes of the files in postgres/, in the order of their names: of its
// own commands they use \getenv, of its variables :'name'.
func initSQL(t testing.TB, env map[string]string) []string {
	t.Helper()
	files, err := filepath.Glob("postgres/*.sql") // sorted
	if err != nil || len(files) == 0 {
		t.Fatalf("no init SQL: %v", err)
	}
	var sqls []string
	for _, file := range files {
		text := read(t, file)
		variables := map[string]string{}
		for _, m := range getenvLine.FindAllStringSubmatch(text, -1) {
			variables[m[1]] = env[m[2]]
		}
		text = psqlLiteral.ReplaceAllStringFunc(getenvLine.ReplaceAllString(text, ""), func(use string) string {
			return "'" + strings.ReplaceAll(variables[strings.Trim(use, ":'")], "'", "''") + "'"
		})
		sqls = append(sqls, text)
	}
	return sqls
}

// redirected turns a compose service's connection string into one to the test's server.
func redirected(t testing.TB, database, password string, to *fixture.Database) string {
	t.Helper()
	u, server := must.Get(url.Parse(database))(t), must.Get(url.Parse(to.Address))(t)
	u.Host = server.Host
	if password != "" {
		u.User = url.UserPassword(u.User.Username(), password)
	}
	return u.String()
}

// The sample configuration fits the sample tables with the rights of the sample's role,
// and so it does with those of the documentation.
func TestDatabase(t *testing.T) {
	t.Parallel()
	documented := regexp.MustCompile("(?s)```sql\n(.*?)```").FindStringSubmatch(read(t, "../docs/operating.md"))
	if documented == nil {
		t.Fatal("docs/operating.md shows no SQL")
	}
	files := initSQL(t, secrets)
	for name, sqls := range map[string][]string{
		"postgres":          files,
		"docs/operating.md": {files[0], documented[1], files[len(files)-1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := startApplication(t, sqls...)
			env := environment(t)
			cfg, targets := configuration(t, env)
			rollcall := postgres.Config{URL: redirected(t, cfg.Database, env["PGPASSWORD"], app), Targets: targets}
			app.Start(rollcall)
			// the right to create is for the first start only, as the documentation says
			app.Exec("revoke create on database app from rollcall")
			app.Start(rollcall)
		})
	}
}

// sameSet fails unless two lists hold the same texts.
func sameSet(t testing.TB, what string, got, want []string) {
	t.Helper()
	got, want = slices.Compact(slices.Sorted(slices.Values(got))), slices.Compact(slices.Sorted(slices.Values(want)))
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// prometheusYAML is what prometheus.yml uses of its language, and nothing more.
type prometheusYAML struct {
	Global struct {
		ScrapeInterval     string `yaml:"scrape_interval"`
		EvaluationInterval string `yaml:"evaluation_interval"`
	} `yaml:"global"`
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName       string `yaml:"job_name"`
		StaticConfigs []struct {
			Targets []string `yaml:"targets"`
		} `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

func parseYAML[T any](t testing.TB, text string) T {
	t.Helper()
	var parsed T
	must.Do(t, yaml.UnmarshalWithOptions([]byte(text), &parsed, yaml.Strict()))
	return parsed
}

func prometheusConfig(t testing.TB) prometheusYAML {
	t.Helper()
	return parseYAML[prometheusYAML](t, read(t, "prometheus.yml"))
}

// Prometheus asks the admin listener, over a network that both are on.
func TestPrometheusTargets(t *testing.T) {
	t.Parallel()
	cfg, _ := configuration(t, environment(t))
	for _, job := range prometheusConfig(t).ScrapeConfigs {
		for _, targets := range job.StaticConfigs {
			for _, target := range targets.Targets {
				host, p, _ := strings.Cut(target, ":")
				reaches(t, compose(t), "prometheus", host)
				if want := port(t, cfg.AdminListen); p != want {
					t.Errorf("job %s asks port %s, admin_listen is %s", job.JobName, p, want)
				}
			}
		}
	}
}
