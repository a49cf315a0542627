package deploy

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rollcall/internal/app"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// alertsYAML is what alerts.yml uses of its language, and nothing more.
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

// scraped are the samples of a scrape: metric to label to its values.
type scraped map[string]map[string][]string

var (
	sample   = regexp.MustCompile(`^(\w+)(?:\{(.*)\})? `)
	matchers = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
)

func readScrape(text string, jobs []string) scraped {
	found := scraped{"up": {}} // made by Prometheus itself
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
	for _, labels := range found { // Prometheus adds these
		labels["job"], labels["instance"] = jobs, []string{""}
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

// sessionOfSupabase opens just-in-time sync, whose metrics are there only with it, as are those of the rules about sign-ups.
const sessionOfSupabase = `    admission: {deny_domains: [evil.example]}
    session: {issuer: "https://made-up.supabase.co/auth/v1", hs256_secret: made-up-secret-of-session-tokens}
    database_webhook:`

// scrape runs a serve on a database with the sample configuration, just-in-time sync added, until it has counted its
// users, and returns its metrics.
func scrape(t *testing.T, database string) scraped {
	t.Helper()
	env := environment(t)
	env["DATABASE_URL"] = database
	config := strings.NewReplacer("    database_webhook:", sessionOfSupabase,
		"listen: :8080", "listen: 127.0.0.1:0", "0.0.0.0:8081", "127.0.0.1:0").Replace(read(t, "rollcall.yaml"))
	setup := must.Get(app.Read("rollcall.yaml", []byte(config), func(name string) string { return env[name] }))(t)
	ctx, cancel := context.WithCancel(context.Background())
	admin, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{
			Setup: setup, Log: slog.New(slog.DiscardHandler), Version: "v1",
			Listening: func(_, a net.Addr) { admin <- a },
		})
	}()
	t.Cleanup(func() { cancel(); must.Do(t, <-ended) })
	url, metrics := "http://"+(<-admin).String()+"/metrics", ""
	must.Await(t, "a count of the users", func() bool {
		response, err := http.Get(url)
		must.Do(t, err)
		defer response.Body.Close()
		metrics = string(must.Get(io.ReadAll(response.Body))(t))
		return strings.Contains(metrics, "rollcall_users{")
	})
	var jobs []string
	for _, job := range prometheusConfig(t).ScrapeConfigs {
		jobs = append(jobs, job.JobName)
	}
	return readScrape(metrics, jobs)
}

// Alerts and panels name what a serve offers; each alert has its section of the runbook, whose queries run, and its row
// of the page.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	database := pgtest.NewWith(t, pgtest.Auth, read(t, "postgres/1-tables.sql"))
	s := scrape(t, database)
	checkAlerts(t, s)
	checkDashboard(t, s)
	queries := matchesIn(t, `(?s)psql "\$DATABASE_URL" -c "(.*?)"`, "../docs/runbook.md")
	must.True(t, len(queries) == 3, "the runbook has %d queries", len(queries))
	for _, sql := range queries {
		fixture.At(t, database).Exec(strings.ReplaceAll(sql, "PID", "0"))
	}
}

func checkAlerts(t *testing.T, s scraped) {
	t.Helper()
	var names []string
	for _, group := range parseYAML[alertsYAML](t, read(t, "alerts.yml")).Groups {
		for _, a := range group.Rules {
			for _, wrong := range s.mistakes(a.Expr) {
				t.Errorf("%s: there is no %s", a.Alert, wrong)
			}
			needs := []string{a.Alert, a.Expr, a.For, a.Labels["severity"], a.Annotations["summary"], a.Annotations["description"]}
			must.True(t, !slices.Contains(needs, ""), "the rule %q lacks something: %q", a.Alert, needs)
			must.Equal(t, a.Annotations["runbook"], "docs/runbook.md#"+strings.ToLower(a.Alert), "runbook of "+a.Alert)
			names = append(names, a.Alert)
		}
	}
	sameSet(t, "alerts with a section of the runbook", matchesIn(t, `(?m)^## (Rollcall\w+)$`, "../docs/runbook.md"), names)
	sameSet(t, "alerts of the page", matchesIn(t, "(?m)^\\| \\[`(Rollcall\\w+)`", "../docs/metrics.md"), names)
}

// matchesIn are the first groups of all matches in a file.
func matchesIn(t *testing.T, pattern, file string) (all []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, file), -1) {
		all = append(all, m[1])
	}
	return all
}

// dashboard is what grafana.json uses of its language, as far as it is held against something.
type dashboard struct {
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct{ Name string } `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID         int                      `json:"id"`
	Type       string                   `json:"type"`
	Title      string                   `json:"title"`
	Datasource struct{ UID string }     `json:"datasource"`
	GridPos    struct{ H, W, X, Y int } `json:"gridPos"`
	Targets    []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
}

func checkDashboard(t *testing.T, s scraped) {
	t.Helper()
	var d dashboard
	must.Do(t, json.Unmarshal([]byte(read(t, "grafana.json")), &d))
	variables := d.Templating.List
	must.True(t, len(variables) == 1 && variables[0].Name == "datasource", "the variables are %v", variables)
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		must.True(t, p.Title != "" && !ids[p.ID], "the id %d, or no title: %q", p.ID, p.Title)
		ids[p.ID] = true
		p.place(t, cells)
		if p.Type != "row" {
			p.check(t, s)
		}
	}
	must.True(t, len(ids) > 20, "found %d panels", len(ids))
}

// place fails where a panel covers another one, or leaves the page, which has 24 columns.
func (p *panel) place(t *testing.T, cells map[[2]int]string) {
	t.Helper()
	for x := range p.GridPos.W {
		for y := range p.GridPos.H {
			at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
			must.True(t, cells[at] == "" && at[0] < 24, "%s is at %v, where %q is", p.Title, at, cells[at])
			cells[at] = p.Title
		}
	}
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// check holds the queries of a panel against a scrape, and its legends against what the queries leave.
func (p *panel) check(t *testing.T, s scraped) {
	t.Helper()
	must.True(t, len(p.Targets) > 0 && p.Datasource.UID == "${datasource}", "%s has no query or no data source", p.Title)
	for _, q := range p.Targets {
		for _, wrong := range s.mistakes(q.Expr) {
			t.Errorf("%s: there is no %s", p.Title, wrong)
		}
		left := "instance"
		if by := grouping.FindStringSubmatch(q.Expr); by != nil {
			left = by[1]
		}
		for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
			must.True(t, strings.Contains(left, m[1]), "%s: %s leaves no label %s for the legend", p.Title, q.Expr, m[1])
		}
	}
}
