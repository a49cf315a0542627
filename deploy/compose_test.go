package deploy

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rollcall/internal/must"
)

const composeFile = "../docker-compose.yml"

// composeYAML is what docker-compose.yml uses of its language, and nothing more.
type composeYAML struct {
	Name     string                    `yaml:"name"`
	Services map[string]composeService `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Volumes map[string]struct{} `yaml:"volumes"`
}

type composeService struct {
	Image     string `yaml:"image"`
	Build     any    `yaml:"build"`
	Restart   string `yaml:"restart"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Environment     map[string]string `yaml:"environment"`
	Volumes         []string          `yaml:"volumes"`
	Ports           []string          `yaml:"ports"` // host IP, port of the host, port of the container
	Networks        []string          `yaml:"networks"`
	StopGracePeriod string            `yaml:"stop_grace_period"`
	ReadOnly        bool              `yaml:"read_only"`
	CapAdd          []string          `yaml:"cap_add"`
	CapDrop         []string          `yaml:"cap_drop"`
	SecurityOpt     []string          `yaml:"security_opt"`
	HealthCheck     struct {
		Test        []string `yaml:"test"`
		Interval    string   `yaml:"interval"`
		Timeout     string   `yaml:"timeout"`
		Retries     int      `yaml:"retries"`
		StartPeriod string   `yaml:"start_period"`
	} `yaml:"healthcheck"`
}

// loadCompose reads docker-compose.yml with the variables of an environment, as docker compose does. A
// variable that has a value there stands alone in the file.
func loadCompose(t testing.TB, env map[string]string) (_ composeYAML, err error) {
	t.Helper()
	text := variable.ReplaceAllStringFunc(read(t, composeFile), func(use string) string {
		m := variable.FindStringSubmatch(use)
		if value := env[m[1]]; value != "" {
			return strconv.Quote(value)
		}
		if m[2] == "?" {
			err = errors.Join(err, fmt.Errorf("%s: %s", m[1], m[3]))
		}
		return m[3]
	})
	return parseYAML[composeYAML](t, text), err
}

func compose(t testing.TB) composeYAML {
	t.Helper()
	return must.Get(loadCompose(t, secrets))(t)
}

var variable = regexp.MustCompile(`\$\{([A-Z_]+):([-?])([^}]*)\}`)

// Every variable of compose stands in .env.example: the mandatory ones to be filled in, the
// others as comments. Without a mandatory one nothing starts, and its name is said.
func TestEnvExample(t *testing.T) {
	t.Parallel()
	var mandatory, optional []string
	for _, m := range variable.FindAllStringSubmatch(read(t, composeFile), -1) {
		if m[2] == "?" {
			mandatory = append(mandatory, m[1])
		} else {
			optional = append(optional, m[1])
		}
	}
	example := read(t, "../.env.example")
	var filled, commented []string
	for _, m := range regexp.MustCompile(`(?m)^(#?)([A-Z_]+)=(.*)$`).FindAllStringSubmatch(example, -1) {
		if m[1] == "#" {
			commented = append(commented, m[2])
			continue
		}
		filled = append(filled, m[2])
		if m[3] != "" {
			t.Errorf(".env.example holds a value for %s, which would be the same in every installation", m[2])
		}
	}
	sameSet(t, ".env.example", filled, mandatory)
	sameSet(t, "comments of .env.example", commented, optional)
	sameSet(t, "secrets of this test", slices.Collect(maps.Keys(secrets)), mandatory)
	for _, name := range mandatory {
		less := maps.Clone(secrets)
		less[name] = ""
		if _, err := loadCompose(t, less); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// The secrets of .env stay out of git and out of the image.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	if !slices.Contains(strings.Fields(read(t, "../.gitignore")), ".env") {
		t.Error(".env is not in .gitignore")
	}
	if ignored, err := ignoreFile(t).MatchesOrParentMatches(".env"); err != nil || !ignored {
		t.Errorf(".env is sent to the build: %v", err)
	}
}

// Only webhooks and Prometheus's pages reach the host, and only its loopback.
func TestPublished(t *testing.T) {
	t.Parallel()
	project := compose(t)
	cfg, _ := configuration(t, environment(t))
	for name, want := range map[string]struct{ ports, networks []string }{
		"rollcall":   {[]string{"127.0.0.1:8080:" + port(t, cfg.Listen)}, []string{"edge", "inside"}},
		"postgres":   {nil, []string{"inside"}},
		"prometheus": {[]string{"127.0.0.1:9090:9090"}, []string{"inside", "console"}},
	} {
		sameSet(t, "ports of "+name, project.Services[name].Ports, want.ports)
		sameSet(t, "networks of "+name, project.Services[name].Networks, want.networks)
	}
	if !project.Networks["inside"].Internal {
		t.Error("the network inside leads outside")
	}
}

func TestHardening(t *testing.T) {
	t.Parallel()
	for name, s := range compose(t).Services {
		if name != "postgres" && !s.ReadOnly { // its image writes into several places
			t.Errorf("%s can write to its root", name)
		}
		if s.Restart != "unless-stopped" {
			t.Errorf("%s has restart %q", name, s.Restart)
		}
		sameSet(t, "cap_drop of "+name, s.CapDrop, []string{"ALL"})
		sameSet(t, "security_opt of "+name, s.SecurityOpt, []string{"no-new-privileges:true"})
	}
}

// Every file that is mounted exists and stands where it is looked for.
func TestMounts(t *testing.T) {
	t.Parallel()
	project := compose(t)
	want := map[string][]string{
		"rollcall":   {finalStage(t).env["ROLLCALL_CONFIG"]},
		"postgres":   {"/docker-entrypoint-initdb.d"},
		"prometheus": append(prometheusConfig(t).RuleFiles, "/etc/prometheus/prometheus.yml"),
	}
	for name, s := range project.Services {
		var targets []string
		for _, volume := range s.Volumes {
			file, target, _ := strings.Cut(volume, ":")
			if !strings.HasPrefix(file, ".") {
				continue // a volume by its name
			}
			target, readOnly := strings.CutSuffix(target, ":ro")
			targets = append(targets, target)
			if !readOnly {
				t.Errorf("%s can write to %s", name, file)
			}
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		sameSet(t, "mounts of "+name, targets, want[name])
	}
}

// reaches fails unless a service can connect to another one by its name.
func reaches(t *testing.T, project composeYAML, from, to string) {
	t.Helper()
	target, ok := project.Services[to]
	if !ok {
		t.Fatalf("%s is to reach %s, which is no service", from, to)
	}
	for _, network := range project.Services[from].Networks {
		if slices.Contains(target.Networks, network) {
			return
		}
	}
	t.Errorf("%s and %s share no network", from, to)
}

// The database of the environment is the one that the service postgres makes, and it is
// waited for.
func TestDatabaseOfCompose(t *testing.T) {
	t.Parallel()
	project := compose(t)
	host, name, ok := strings.Cut(strings.TrimPrefix(environment(t)["DATABASE_URL"], "postgres://rollcall@"), ":5432/")
	if !ok || host != "postgres" {
		t.Fatalf("the database is at %q", host)
	}
	reaches(t, project, "rollcall", host)
	db := project.Services[host]
	if got, _, _ := strings.Cut(name, "?"); got != db.Environment["POSTGRES_DB"] {
		t.Errorf("rollcall uses database %s, postgres makes %s", got, db.Environment["POSTGRES_DB"])
	}
	if len(db.HealthCheck.Test) == 0 || project.Services["rollcall"].DependsOn["postgres"].Condition != "service_healthy" {
		t.Error("rollcall does not wait for a healthy postgres")
	}
	check := strings.Join(db.HealthCheck.Test, " ")
	if !strings.Contains(check, "--host=127.0.0.1") || !strings.Contains(check, "--dbname="+db.Environment["POSTGRES_DB"]) {
		t.Errorf("the health check asks another database: %s", check)
	}
}
