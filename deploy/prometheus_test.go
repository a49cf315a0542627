package deploy

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"rollcall/internal/must"
)

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
