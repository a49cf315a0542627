//go:build unix

// Package examples runs every example against a real database: its schema, its
// configuration and its story, event by event, through the real endpoints.
package examples

import (
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/api"
	"rollcall/internal/app"
	"rollcall/internal/doctor"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
	"rollcall/internal/target"
	"rollcall/internal/testevent"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { pgtest.Main(m) }

// Each example tells a story: the files of its folder events, in order, are SQL that
// another program runs, or bodies that a provider sends. story.txt holds what came of it.
func TestExamples(t *testing.T) {
	t.Parallel()
	schemas, err := filepath.Glob("*/schema.sql")
	if err != nil || len(schemas) != 6 {
		t.Fatalf("found %v, error %v, want 6 examples", schemas, err)
	}
	for _, schema := range schemas {
		dir := filepath.Dir(schema)
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			golden(t, filepath.Join(dir, "story.txt"), start(t, dir).story())
		})
	}
}

// Nothing is wrong with an example, before its story and after it.
func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	schemas := must.Get(filepath.Glob("*/schema.sql"))(t)
	for _, schema := range schemas {
		dir := filepath.Dir(schema)
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			x := start(t, dir)
			must.Get(x.rollcall.Backfills().Unfilled(t.Context()))(t) // as serve does before the first user
			x.well("before the story")
			x.story()
			x.well("after the story")
		})
	}
}

// well fails if doctor finds more than what is worth knowing of the tests' role, a superuser.
func (x *example) well(when string) {
	x.T.Helper()
	d := doctor.Examine(x.T.Context(), x.setup.Doctor(x.rollcall, nil))
	if d.Wrong() || len(d.Unseen) > 0 {
		x.T.Errorf("%s: %+v", when, d)
	}
}

// docs/migrating.md goes from a trigger to targets. Both must write the same rows.
func TestTriggerAndTargetsAgree(t *testing.T) {
	t.Parallel()
	const dir = "two-applications"
	signUp := []string{dir + "/events/01-supabase-writes.sql", dir + "/events/02-sign-up.supabase.json"}

	targets := start(t, dir)
	targets.given = read(t, signUp[0])
	for _, file := range signUp {
		targets.step(file)
	}
	trigger := start(t, dir)
	trigger.given = targets.given
	trigger.step(dir + "/trigger.sql")
	trigger.step(signUp[0])
	for _, target := range targets.setup.Targets {
		if diff := cmp.Diff(trigger.rows(target), targets.rows(target)); diff != "" {
			t.Errorf("rows (-trigger +target):\n%s", diff)
		}
	}
}

// What the page shows is what runs here.
func TestMigratingShowsTheExample(t *testing.T) {
	t.Parallel()
	page := read(t, "../docs/migrating.md")
	for _, file := range []string{"two-applications/rollcall.yaml", "two-applications/trigger.sql"} {
		_, text, editor := strings.Cut(read(t, file), "$schema=../rollcall.schema.json\n")
		if !editor {
			text = read(t, file)
		}
		if !strings.Contains(page, "\n"+text+"```\n") {
			t.Errorf("docs/migrating.md does not show examples/%s word for word", file)
		}
	}
}

// example is a running one.
type example struct {
	*fixture.Database

	dir      string
	setup    *app.Setup
	rollcall *postgres.DB
	public   *httptest.Server
	// given are the ids that the story's files name; others are made by the database.
	given string
}

// start serves an example's configuration on a fresh database with its schema.
func start(t *testing.T, dir string) *example {
	t.Helper()
	x := &example{Database: fixture.New(t, read(t, filepath.Join(dir, "schema.sql"))), dir: dir}
	x.setup = setUp(t, filepath.Join(dir, "rollcall.yaml"), x.Address)
	rollcall := x.Start(postgres.Config{Targets: x.setup.Targets})
	x.rollcall = rollcall.DB
	server := api.New(api.Config{
		Sources: x.setup.Sources, Submit: rollcall.Pipeline.Submit, Ready: rollcall.DB.Roll().Ready, DB: rollcall.DB,
		Log: slog.New(slog.DiscardHandler),
	})
	x.public = httptest.NewServer(server.Public())
	t.Cleanup(x.public.Close)
	return x
}

// setUp reads a configuration with made-up secrets.
func setUp(t *testing.T, file, url string) *app.Setup {
	t.Helper()
	variables := map[string]string{
		"DATABASE_URL":                 url,
		"CLERK_WEBHOOK_SIGNING_SECRET": "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ==",
		"SUPABASE_AUTH_HOOK_SECRET":    "v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==",
		"SUPABASE_DB_WEBHOOK_SECRET":   "test-secret-of-database-webhooks",
	}
	return must.Get(app.Read(file, []byte(read(t, file)), func(name string) string { return variables[name] }))(t)
}

// story runs the events and tells after each what the tables hold.
func (x *example) story() string {
	files, err := filepath.Glob(filepath.Join(x.dir, "events", "*"))
	if err != nil || len(files) == 0 {
		x.T.Fatalf("%s: no events, error %v", x.dir, err)
	}
	for _, file := range files {
		x.given += read(x.T, file)
	}
	var told strings.Builder
	for _, file := range files {
		fmt.Fprintf(&told, "== %s\n%s\n\n", filepath.Base(file), x.step(file))
		for _, target := range x.setup.Targets {
			told.WriteString(x.rows(target) + "\n")
		}
	}
	return told.String()
}

// step runs one file: label.sql, label.source.json or label.source.database.json.
func (x *example) step(file string) string {
	text := read(x.T, file)
	parts := strings.Split(filepath.Base(file), ".")
	if parts[len(parts)-1] == "sql" {
		x.Exec(text)
		return strings.TrimSpace(text)
	}
	endpoint := source.Hook
	if parts[2] == "database" {
		endpoint = source.Database
	}
	request := must.Get(testevent.Seal(must.Get(x.setup.Source(parts[1]))(x.T), endpoint, []byte(text)))(x.T)
	answer := must.Get(testevent.NewSender(x.public.URL).Post(x.T.Context(), request))(x.T)
	return fmt.Sprintf("POST %s: %d %s", api.Path(parts[1], endpoint), answer.Status, answer.Outcome)
}

// rows is a target's table as text, by key.
func (x *example) rows(to target.Target) string {
	// texts, so that nothing depends on how a driver prints a type
	sql := "set timezone = 'UTC'; select * from " + target.QuoteTable(to.Table) + " order by " + target.QuoteAll(to.Key)
	results := must.Get(x.SQL.PgConn().Exec(x.T.Context(), sql).ReadAll())(x.T)
	result := results[len(results)-1]
	if len(result.Rows) == 0 {
		return to.Table + "\n  (empty)\n"
	}
	var columns []string
	for _, f := range result.FieldDescriptions {
		columns = append(columns, f.Name)
	}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "%s\n  %s\n", to.Table, strings.Join(columns, "\t"))
	for _, row := range result.Rows {
		cells := make([]string, len(row))
		for i, value := range row {
			cells[i] = x.cell(value)
		}
		_, _ = fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	_ = w.Flush() // a builder takes everything
	return out.String()
}

var (
	uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
)

// cell is a value, with a word for what differs from run to run.
func (x *example) cell(value []byte) string {
	text := string(value)
	switch {
	case value == nil:
		return "null"
	case uuidForm.MatchString(text) && !strings.Contains(x.given, text):
		return "(a uuid of the database)"
	case timeForm.MatchString(text):
		at, err := time.Parse(time.DateTime, text[:len(time.DateTime)])
		if err == nil && time.Since(at).Abs() < time.Hour {
			return "(now)"
		}
	}
	return text
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		must.Do(t, os.WriteFile(path, []byte(got), 0o644))
	}
	if diff := cmp.Diff(read(t, path), got); diff != "" {
		t.Errorf("%s, rewrite it with go test ./examples -update (-want +got):\n%s", path, diff)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	return string(must.Get(os.ReadFile(path))(t))
}
