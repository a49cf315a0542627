package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rollcall/internal/must"
)

const (
	root = ".." // of the repository
	// readmeLines is how long the README may be.
	readmeLines = 220
)

func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	lines := strings.Count(read(t, "../README.md"), "\n")
	must.True(t, lines <= readmeLines, "README.md has %d lines, want %d at most: move some to a page of docs", lines, readmeLines)
}

func read(t *testing.T, file string) string {
	t.Helper()
	return string(must.Get(os.ReadFile(file))(t))
}

// pages are the texts of the repository, by their paths in it.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "deploy/*.md"} {
		for _, file := range must.Get(filepath.Glob(filepath.Join(root, pattern)))(t) {
			all[must.Get(filepath.Rel(root, file))(t)] = read(t, file)
		}
	}
	return all
}

var (
	fences   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	headings = regexp.MustCompile(`(?m)^(#+) (.*)$`)
	links    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	spans    = regexp.MustCompile("`[^`\n]+`")
	linked   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	unslug   = regexp.MustCompile(`[^\pL\pN_\- ]`)
)

// anchor is the fragment that GitHub gives a heading.
func anchor(heading string) string {
	text := unslug.ReplaceAllString(strings.ToLower(linked.ReplaceAllString(heading, "$1")), "")
	return strings.ReplaceAll(text, " ", "-")
}

// anchors are those of a page.
func anchors(page string) []string {
	var all []string
	for _, h := range headings.FindAllStringSubmatch(fences.ReplaceAllString(page, ""), -1) {
		all = append(all, anchor(h[2]))
	}
	return all
}

// Each relative link names a file or a directory of the repository, and each anchor a heading.
func TestLinks(t *testing.T) {
	t.Parallel()
	all, seen := pages(t), 0
	for file, text := range all {
		text = spans.ReplaceAllString(fences.ReplaceAllString(text, ""), "")
		for _, link := range links.FindAllStringSubmatch(text, -1) {
			path, fragment, hasFragment := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			seen++
			to := filepath.Clean(filepath.Join(filepath.Dir(file), path))
			if path == "" {
				to = file
			} else if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", file, link[1])
			}
			if hasFragment && !slices.Contains(anchors(all[to]), fragment) {
				t.Errorf("%s: the link %s names no heading", file, link[1])
			}
		}
	}
	must.True(t, seen > 100, "found %d links", seen)
}

var contents = regexp.MustCompile(`(?m)^\*\*Contents:\*\* .*$`)

// Each page of docs, and that of the examples, begins with its contents.
func TestContents(t *testing.T) {
	if !*update { // both write design.md
		t.Parallel()
	}
	for file, text := range pages(t) {
		if filepath.Dir(file) != "docs" && file != "examples/README.md" {
			continue
		}
		var list []string
		for _, h := range headings.FindAllStringSubmatch(fences.ReplaceAllString(text, ""), -1) {
			if h[1] == "##" {
				list = append(list, "["+h[2]+"](#"+anchor(h[2])+")")
			}
		}
		want := "**Contents:** " + strings.Join(list, " · ")
		before, _, _ := strings.Cut(text, "\n## ")
		got := strings.Join(contents.FindAllString(before, -1), "\n") // a merge may double them
		if *update && got != "" {
			must.Do(t, os.WriteFile(filepath.Join(root, file), []byte(strings.Replace(text, got, want, 1)), 0o644))
		} else if got != want {
			t.Errorf("%s: its contents must stand above the first heading; paste this, or run go test ./docs -update:\n%s", file, want)
		}
	}
}

// ours are the sections of the page about messages whose messages are Rollcall's own.
var ours = []string{"At start", "In the log of serve", "Requests that are refused", "capture", "reconcile", "Session tokens"}

var (
	messageRow = regexp.MustCompile("(?m)^\\| `([^`]+)`")
	verb       = regexp.MustCompile(`%(\[\d\])?[a-zA-Z]`)
)

// Each message of the page is one that the code prints, and they are in order.
func TestTroubleshootingHasRealMessages(t *testing.T) {
	t.Parallel()
	code := strings.Join(literals(t), "\n")
	for _, section := range ours {
		_, text, found := strings.Cut(read(t, "troubleshooting.md"), "\n## "+section+"\n")
		must.True(t, found, "the page has no section %q", section)
		text, _, _ = strings.Cut(text, "\n## ")
		var messages []string
		for _, row := range messageRow.FindAllStringSubmatch(text, -1) {
			messages = append(messages, row[1])
			for part := range strings.SplitSeq(row[1], "…") {
				if !strings.Contains(code, strings.TrimSpace(part)) {
					t.Errorf("%s: the code prints nothing with %q, of the message %q", section, part, row[1])
				}
			}
		}
		must.True(t, len(messages) > 1 && slices.IsSorted(messages), "%s: these messages are too few, or in no order: %q", section, messages)
	}
}

// literals are the texts of the module's code without its tests, with an … for each value in them.
func literals(t *testing.T) []string {
	t.Helper()
	var all []string
	must.Do(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			e, isExpr := n.(ast.Expr)
			if !isExpr {
				return true
			}
			text, whole := textOf(e)
			if text != "" {
				all = append(all, verb.ReplaceAllString(text, "…"))
			}
			return !whole
		})
		return nil
	}))
	return all
}

// textOf is the text of a literal, or of literals that are added; it reports whether that is all of it.
func textOf(e ast.Expr) (text string, whole bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ := strconv.Unquote(e.Value) // the parser has read it
			return text, true
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			left, all := textOf(e.X)
			right, rest := textOf(e.Y)
			return left + right, all && rest
		}
	}
	return "", false
}
