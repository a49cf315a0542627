package jobs

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
)

// heard is what comes of River's lines, each with its moment, at a level of the log.
func heard(level slog.Level, lines ...slog.Record) string {
	var out bytes.Buffer
	h := newDedup(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	for _, r := range lines {
		if h.Enabled(context.Background(), r.Level) {
			_ = h.Handle(context.Background(), r)
		}
	}
	return out.String()
}

func riverSays(after time.Duration, level slog.Level, message string, attrs ...any) slog.Record {
	r := slog.NewRecord(time.Unix(1_700_000_000, 0).Add(after), level, message, 0)
	r.Add(attrs...)
	return r
}

// River's routine and its leadership are for debugging. That the tables of the jobs can't be used is
// said once it lasts, and what only River knows of a job is said once a minute.
func TestDedup(t *testing.T) {
	t.Parallel()
	fetch := func(after time.Duration) slog.Record {
		return riverSays(after, slog.LevelError, "Producer: Error fetching jobs", "err", "away", "queue", "default")
	}
	elect := riverSays(0, slog.LevelWarn, "Elector: Current leader stepping down because the reelection deadline elapsed", "client_id", "x")
	const lasting = `level=ERROR msg="jobs wait: their tables in the schema rollcall can't be used" error=away` + "\n"
	for name, test := range map[string]struct {
		level slog.Level
		lines []slog.Record
		want  string
	}{
		"daily":                {slog.LevelInfo, []slog.Record{riverSays(0, slog.LevelInfo, "Client: daily")}, ""},
		"leadership":           {slog.LevelInfo, []slog.Record{elect}, ""},
		"leadership, debug":    {slog.LevelDebug, []slog.Record{elect}, `level=DEBUG msg="Elector: Current leader stepping down because the reelection deadline elapsed" client_id=x` + "\n"},
		"a restart":            {slog.LevelInfo, []slog.Record{fetch(0), fetch(time.Second), fetch(29 * time.Second)}, ""},
		"it lasts":             {slog.LevelInfo, []slog.Record{fetch(0), fetch(20 * time.Second), fetch(30 * time.Second), fetch(31 * time.Second)}, lasting},
		"it goes on lasting":   {slog.LevelInfo, []slog.Record{fetch(0), fetch(30 * time.Second), fetch(89 * time.Second), fetch(90 * time.Second)}, lasting + lasting},
		"two restarts":         {slog.LevelInfo, []slog.Record{fetch(0), fetch(10 * time.Minute), fetch(10*time.Minute + 20*time.Second)}, ""},
		"about one job":        {slog.LevelInfo, []slog.Record{riverSays(0, slog.LevelWarn, "JobExecutor: Job appears to be stuck", "job_id", 7)}, `level=WARN msg="a job goes on although its time is over" job_id=7` + "\n"},
		"again, and again":     {slog.LevelInfo, []slog.Record{riverSays(0, slog.LevelError, "E: Error inserting periodic jobs", "error", "x"), riverSays(time.Second, slog.LevelError, "E: Error starting transaction"), riverSays(time.Minute, slog.LevelError, "E: Error starting transaction")}, `level=ERROR msg="a job that was due is left out until its next time" error=x` + "\n" + `level=ERROR msg="a job that was due is left out until its next time"` + "\n"},
		"not known":            {slog.LevelInfo, []slog.Record{riverSays(0, slog.LevelWarn, "X: new", "a", 1), riverSays(1, slog.LevelWarn, "X: new")}, `level=WARN msg="X: new" a=1` + "\n"},
		"the log wants errors": {slog.LevelError, []slog.Record{riverSays(0, slog.LevelWarn, "X: new")}, ""},
	} {
		if diff := cmp.Diff(test.want, heard(test.level, test.lines...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A logger with further attributes keeps in mind what another one has said.
func TestDedupWithAttributes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(newDedup(slog.NewTextHandler(&out, nil)))
	log.Error("X: new")
	log.With("try", 2).Error("X: new")
	log.WithGroup("job").Error("X: new")
	if n := strings.Count(out.String(), "X: new"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, &out)
	}
}

// Each warning of the pinned version of River stands in wordsFor, and nothing else does.
func TestEveryWarningOfRiverIsDecided(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, module := range []string{"river", "river/rivershared", "river/riverdriver", "river/riverdriver/riverpgxv5"} {
		dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/riverqueue/"+module).Output()
		if err != nil {
			t.Fatalf("look for the sources of %s: %v", module, err)
		}
		warnings(t, strings.TrimSpace(string(dir)), found)
	}
	if len(found) < 50 {
		t.Errorf("only %d warnings found", len(found))
	}
	for message := range found {
		if _, decided := wordsFor[message]; !decided {
			t.Errorf("River may say %q: decide in wordsFor who needs that", message)
		}
	}
	for message := range wordsFor {
		if !found[message] {
			t.Errorf("River does not say %q any more", message)
		}
	}
}

// warnings collects what the sources below a directory log as a warning or an error.
func warnings(t *testing.T, dir string, into map[string]bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && slices.Contains([]string{"cmd", "riverlog", "rivermigrate", "riverdriver"}, entry.Name()) && path != dir {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if message := warning(n); message != "" {
				into[message] = true
			}
			return true
		})
		return nil
	})
	must.Do(t, err)
}

// warning is the message of a call such as x.Logger.ErrorContext(ctx, x.Name+": message").
func warning(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return ""
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Warn", "WarnContext", "Error", "ErrorContext"}, method.Sel.Name) {
		return ""
	}
	if logger, ok := method.X.(*ast.SelectorExpr); !ok || logger.Sel.Name != "Logger" {
		return ""
	}
	for _, argument := range call.Args {
		part := ""
		if sum, ok := argument.(*ast.BinaryExpr); ok {
			argument, part = sum.Y, "Part"
		}
		if text, ok := argument.(*ast.BasicLit); ok && text.Kind == gotoken.STRING {
			message, _ := strconv.Unquote(text.Value)
			return bare(part + message)
		}
	}
	return ""
}

// A database that restarts and a leader that goes are no news about the jobs.
func TestJobsThroughARestart(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, pgserver.Options{})
	url := server.URL("postgres")
	migrate(t, url)
	job := never("tick", func(context.Context) error { return nil })
	first, second := startReplica(t, url, job), startReplica(t, url, job)
	time.Sleep(time.Second)
	must.Do(t, server.Stop())
	time.Sleep(4 * time.Second)
	must.Do(t, server.Restart(t.Context()))
	time.Sleep(time.Second)
	_ = stop(t.Context(), first.Client)
	_ = stop(t.Context(), second.Client)
	if said := first.log.String() + second.log.String(); said != "" {
		t.Errorf("said:\n%s", said)
	}
}
