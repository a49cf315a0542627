package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeFile = "../docker-compose.yml"

// loadCompose reads docker-compose.yml as docker compose does: against the schema, with the
// variables of an environment.
func loadCompose(t testing.TB, env types.Mapping) (*types.Project, error) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: root, Environment: env.Clone(), // the loader adds a name to it
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root, "docker-compose.yml")}},
	})
}

func compose(t testing.TB) *types.Project {
	t.Helper()
	project, err := loadCompose(t, secrets)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

var variable = regexp.MustCompile(`\$\{([A-Z_]+):([-?])`)

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
	values, err := dotenv.Parse(strings.NewReader(example))
	if err != nil {
		t.Fatal(err)
	}
	var filled, commented, tested []string
	for name, value := range values {
		filled = append(filled, name)
		if value != "" {
			t.Errorf(".env.example holds a value for %s, which would be everybody's", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^#([A-Z_]+)=`).FindAllStringSubmatch(example, -1) {
		commented = append(commented, m[1])
	}
	for name := range secrets {
		tested = append(tested, name)
	}
	sameSet(t, ".env.example", filled, mandatory)
	sameSet(t, "comments of .env.example", commented, optional)
	sameSet(t, "secrets of this test", tested, mandatory)
	for _, name := range mandatory {
		less := secrets.Clone()
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

// published are a service's ports as host IP, port of the host, port of the container.
func published(s types.ServiceConfig) []string {
	ports := []string{}
	for _, p := range s.Ports {
		ports = append(ports, strings.Join([]string{p.HostIP, p.Published, strconv.Itoa(int(p.Target))}, ":"))
	}
	return ports
}

func networks(s types.ServiceConfig) []string { return slices.Collect(maps.Keys(s.Networks)) }

// Only webhooks and Prometheus's pages reach the host, and only its loopback.
func TestPublished(t *testing.T) {
	t.Parallel()
	project := compose(t)
	cfg, _ := configuration(t, environment(t))
	for name, want := range map[string][]string{
		"rollcall":   {"127.0.0.1:8080:" + port(t, cfg.Listen)},
		"postgres":   {},
		"prometheus": {"127.0.0.1:9090:9090"},
	} {
		sameSet(t, "ports of "+name, published(project.Services[name]), want)
	}
	for name, want := range map[string][]string{
		"rollcall": {"edge", "inside"}, "postgres": {"inside"}, "prometheus": {"inside", "console"},
	} {
		sameSet(t, "networks of "+name, networks(project.Services[name]), want)
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
		if s.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s has restart %q", name, s.Restart)
		}
		sameSet(t, "cap_drop of "+name, s.CapDrop, []string{"ALL"})
		sameSet(t, "security_opt of "+name, s.SecurityOpt, []string{"no-new-privileges:true"})
	}
}

// mounts are a service's bind mounts: path in the container to path on the host.
func mounts(t testing.TB, s types.ServiceConfig) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeBind {
			found[v.Target] = v.Source
			if !v.ReadOnly {
				t.Errorf("%s can write to %s", s.Name, v.Source)
			}
		}
	}
	return found
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
		for target, file := range mounts(t, s) {
			targets = append(targets, target)
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		sameSet(t, "mounts of "+name, targets, want[name])
	}
}

// reaches fails unless a service can connect to another one by its name.
func reaches(t *testing.T, project *types.Project, from, to string) {
	t.Helper()
	target, ok := project.Services[to]
	if !ok {
		t.Fatalf("%s is to reach %s, which is no service", from, to)
	}
	for _, network := range networks(project.Services[from]) {
		if slices.Contains(networks(target), network) {
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
	if got, _, _ := strings.Cut(name, "?"); got != *db.Environment["POSTGRES_DB"] {
		t.Errorf("rollcall uses database %s, postgres makes %s", got, *db.Environment["POSTGRES_DB"])
	}
	if db.HealthCheck == nil || project.Services["rollcall"].DependsOn["postgres"].Condition != types.ServiceConditionHealthy {
		t.Error("rollcall does not wait for a healthy postgres")
	}
	check := strings.Join(db.HealthCheck.Test, " ")
	if !strings.Contains(check, "--host=127.0.0.1") || !strings.Contains(check, "--dbname="+*db.Environment["POSTGRES_DB"]) {
		t.Errorf("the health check asks another database: %s", check)
	}
}
