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

// alertsYAML is the same for alerts.yml.
type alertsYAML struct {
	Groups []struct {
		Name  string  `yaml:"name"`
		Rules []alert `yaml:"rules"`
	} `yaml:"groups"`
}

type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
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

// scraped are the samples of a scrape: metric to label to its values.
type scraped map[string]map[string][]string

var (
	sample   = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? `)
	matchers = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
)

func readScrape(text string, jobs []string) scraped {
	found := scraped{"up": {"job": jobs}} // made by Prometheus itself
	for line := range strings.Lines(text) {
		m := sample.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if found[m[1]] == nil {
			found[m[1]] = map[string][]string{}
		}
		for _, l := range matchers.FindAllStringSubmatch(m[2], -1) {
			found[m[1]][l[1]] = append(found[m[1]][l[1]], l[3])
		}
	}
	return found
}

var (
	grouping  = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)`)
	rangeOf   = regexp.MustCompile(`\[[^]]*\]`)
	selector  = regexp.MustCompile(`([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(\(?)`)
	operators = []string{"and", "or", "unless", "bool", "offset"}
)

// mistakes lists what an expression names and a scrape does not show: a metric, a label, a
// value of a label.
func (s scraped) mistakes(expr string) []string {
	var wrong, labels []string
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.Fields(strings.ReplaceAll(m[1], ",", " "))...)
	}
	rest := rangeOf.ReplaceAllString(grouping.ReplaceAllString(expr, "("), "")
	for _, m := range selector.FindAllStringSubmatch(rest, -1) {
		if m[3] == "(" || slices.Contains(operators, m[1]) {
			continue
		}
		known, ok := s[m[1]]
		if !ok {
			wrong = append(wrong, "metric "+m[1])
			continue
		}
		for _, label := range labels {
			if known[label] == nil {
				wrong = append(wrong, "label "+label+" of "+m[1])
			}
		}
		for _, l := range matchers.FindAllStringSubmatch(m[2], -1) {
			for value := range strings.SplitSeq(l[3], "|") {
				if !slices.Contains(known[l[1]], value) {
					wrong = append(wrong, l[1]+"="+value+" of "+m[1])
				}
			}
		}
	}
	return wrong
}

// The reader of expressions finds each kind of mistake, else the test below would be green
// for nothing.
func TestMistakes(t *testing.T) {
	t.Parallel()
	s := readScrape("# HELP a_total x\na_total{source=\"clerk\",outcome=\"applied\"} 1\nb 2\n", []string{"rollcall"})
	for expr, want := range map[string][]string{
		`sum by (source) (rate(a_total{outcome="applied"}[5m])) > 0.1 * sum by (source) (a_total)`: nil,
		`time() - max(max_over_time(b[7d])) > 12 * 3600 and up{job="rollcall"} == 0`:               nil,
		`rate(c_total[5m]) > 0`:                      {"metric c_total"},
		`sum by (target) (a_total)`:                  {"label target of a_total"},
		`a_total{outcome=~"applied|denied"} > b`:     {"outcome=denied of a_total"},
		`up{job="rolcall"} == 0 or sum(a_total) > d`: {"job=rolcall of up", "metric d"},
	} {
		if got := s.mistakes(expr); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

// checkAlerts holds alerts.yml against a scrape of a running server.
func checkAlerts(t *testing.T, metrics string) {
	t.Helper()
	var jobs []string
	for _, job := range prometheusConfig(t).ScrapeConfigs {
		jobs = append(jobs, job.JobName)
	}
	s := readScrape(metrics, jobs)
	for _, group := range parseYAML[alertsYAML](t, read(t, "alerts.yml")).Groups {
		for _, a := range group.Rules {
			for _, wrong := range s.mistakes(a.Expr) {
				t.Errorf("%s: there is no %s", a.Alert, wrong)
			}
			if a.Alert == "" || a.Expr == "" || a.For == "" || a.Labels["severity"] == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
				t.Errorf("the rule %q lacks something", a.Alert)
			}
		}
	}
}
