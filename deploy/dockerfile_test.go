package deploy

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"rollcall/internal/must"
)

// instruction is one of a Dockerfile, its continued lines joined.
type instruction struct{ name, args string }

// stage is what stands between two FROMs.
type stage struct {
	base, name string
	steps      []instruction
	env        map[string]string // of ENV
}

var (
	comment   = regexp.MustCompile(`(?m)^\s*#.*\n`)
	continued = regexp.MustCompile(`\\[ \t]*\n`)
)

// readDockerfile knows the few forms that ours has: no heredocs, no escape directive, and
// for ENV and ARG one NAME=value each.
func readDockerfile(t testing.TB) []stage {
	t.Helper()
	var stages []stage
	for line := range strings.Lines(continued.ReplaceAllString(comment.ReplaceAllString(read(t, "../Dockerfile"), ""), " ")) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		args = strings.TrimSpace(args)
		switch name {
		case "":
		case "FROM":
			base, as, _ := strings.Cut(args, " AS ")
			stages = append(stages, stage{base: base, name: as, env: map[string]string{}})
		default:
			last := &stages[len(stages)-1]
			last.steps = append(last.steps, instruction{name, args})
			if key, value, _ := strings.Cut(args, "="); name == "ENV" {
				last.env[key] = value
			}
		}
	}
	return stages
}

func finalStage(t testing.TB) stage {
	t.Helper()
	stages := readDockerfile(t)
	return stages[len(stages)-1]
}

// all returns the arguments of a stage's instructions of one name.
func (s stage) all(name string) []string {
	var list []string
	for _, step := range s.steps {
		if step.name == name {
			list = append(list, step.args)
		}
	}
	return list
}

// argv is the exec form of an instruction; the shell form would need a shell.
func (s stage) argv(t testing.TB, name string) []string {
	t.Helper()
	list := s.all(name)
	if len(list) != 1 {
		t.Fatalf("%d instructions %s", len(list), name)
	}
	args := list[0]
	if name == "HEALTHCHECK" {
		_, args, _ = strings.Cut(args, "CMD ")
	}
	var argv []string
	if err := json.Unmarshal([]byte(args), &argv); err != nil {
		t.Fatalf("%s %s is not in exec form: %v", name, args, err)
	}
	return argv
}

func ignoreFile(t testing.TB) *patternmatcher.PatternMatcher {
	t.Helper()
	patterns := must.Get(ignorefile.ReadAll(strings.NewReader(read(t, "../.dockerignore"))))(t)
	return must.Get(patternmatcher.New(patterns))(t)
}

// sandbox runs a stage in a directory that stands for the root of its image.
type sandbox struct {
	root, workdir string
	env           []string
}

// COPY's sources, all but the last of its words.
func sources(args string) (from []string, to string) {
	words := strings.Fields(args)
	return words[:len(words)-1], words[len(words)-1]
}

// build runs the build stage with the given build arguments and returns its sandbox.
func build(t *testing.T, s stage, arguments map[string]string) sandbox {
	t.Helper()
	box := sandbox{root: t.TempDir(), workdir: "/", env: os.Environ()}
	for _, step := range s.steps {
		name, value, _ := strings.Cut(step.args, "=")
		switch step.name {
		case "WORKDIR":
			box.workdir = step.args
		case "ARG":
			if given, ok := arguments[name]; ok {
				value = given
			}
			box.env = append(box.env, name+"="+value)
		case "ENV":
			box.env = append(box.env, name+"="+value)
		case "COPY":
			box.copy(t, step.args)
		case "RUN":
			box.run(t, step.args)
		default:
			t.Fatalf("this test does not know %s", step.name)
		}
	}
	return box
}

func (b sandbox) run(t *testing.T, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir, cmd.Env = filepath.Join(b.root, b.workdir), b.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("RUN %s: %v\n%s", command, err, out)
	}
}

// copy copies from the context, which is the repository without what .dockerignore names.
func (b sandbox) copy(t *testing.T, args string) {
	t.Helper()
	from, to := sources(args)
	if !path.IsAbs(to) {
		to = path.Join(b.workdir, to)
	}
	ignored := ignoreFile(t)
	for _, source := range from {
		copied := 0
		base := filepath.Join("..", source)
		err := filepath.WalkDir(base, func(file string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			inContext, _ := filepath.Rel("..", file)
			if skip, err := ignored.MatchesOrParentMatches(inContext); err != nil || skip && !entry.IsDir() {
				return err
			} else if skip && inContext != "." {
				return filepath.SkipDir // no pattern of ours brings anything back
			}
			if entry.IsDir() {
				return nil
			}
			copied++
			below, _ := filepath.Rel(base, file)
			if below == "." { // a file by itself
				below = filepath.Base(file)
			}
			return copyFile(file, filepath.Join(b.root, to, below))
		})
		if err != nil || copied == 0 {
			t.Fatalf("COPY %s: %d files of %s, %v", args, copied, source, err)
		}
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// ofBase are the files that the build stage's image brings along and ours takes.
var ofBase = map[string][]string{"golang:1.26": {"/etc/ssl/certs/ca-certificates.crt"}}

// The final stage has nothing but files of the build stage, an ordinary user's number, and
// programs by their exec form.
func TestFinalStage(t *testing.T) {
	t.Parallel()
	s := finalStage(t)
	if s.base != "scratch" {
		t.Errorf("the image is made from %s", s.base)
	}
	if user := s.all("USER"); len(user) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user[0]) {
		t.Errorf("USER is %q; want the numbers of a user who is not root", user)
	}
	if s.all("RUN") != nil {
		t.Error("nothing can RUN without a shell")
	}
	cfg, _ := configuration(t, environment(t))
	sameSet(t, "EXPOSE", strings.Fields(strings.Join(s.all("EXPOSE"), " ")), []string{port(t, cfg.Listen), port(t, cfg.AdminListen)})
	for _, name := range []string{"ENTRYPOINT", "HEALTHCHECK"} {
		if got := s.argv(t, name)[0]; !slices.ContainsFunc(s.all("COPY"), func(args string) bool { _, to := sources(args); return to == got }) {
			t.Errorf("%s starts %s, which nothing has copied", name, got)
		}
	}
}

// The Go of the image is the one that go.mod asks for.
func TestGoVersion(t *testing.T) {
	t.Parallel()
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	if got := readDockerfile(t)[0].base; got != "golang:"+wanted[1] {
		t.Errorf("the image is built by %s, go.mod asks for Go %s", got, wanted[1])
	}
}

// collect fills the final stage's COPY --from from the sandbox of the build stage and
// returns where its files lie.
func (s stage) collect(t *testing.T, from stage, box sandbox) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, args := range s.all("COPY") {
		option, rest, _ := strings.Cut(args, " ")
		list, to := sources(rest)
		if option != "--from="+from.name || len(list) != 1 {
			t.Fatalf("COPY %s: only single files of the stage %s are expected", args, from.name)
		}
		if slices.Contains(ofBase[from.base], list[0]) {
			continue
		}
		files[to] = filepath.Join(box.root, list[0])
		if _, err := os.Stat(files[to]); err != nil {
			t.Errorf("COPY %s: the build makes no such file: %v", args, err)
		}
	}
	return files
}
