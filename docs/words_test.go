package docs

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/must"
)

// kind is what a text is, for a word may be right in one and wrong in another.
type kind string

const (
	comment  kind = "comment"  // of Go
	message  kind = "message"  // a string of Go: help, errors, logs, SQL
	testText kind = "testText" // a string of a test: what it says, and data
	markdown kind = "markdown" // Markdown
	file     kind = "file"     // SQL, YAML, scripts and the like, as a whole
)

// rejected are words that this project does not use, in which texts, and what to write instead. The second half
// is names that the code once had.
var rejected = []struct {
	words   string // a regular expression
	in      []kind // all kinds when absent
	instead string
}{
	{"he|she|him|himself|herself", nil, `"the user", or "they", "them", "themselves"; a row is "it"`},
	{"his|hers?", nil, `"the user's" or "their"; of a row "its"`},
	{"who(m|mever)", nil, `"who", "that", or the noun: "the users that …"`},
	{"somebody", nil, `who it is: "another session", "another user", "a program"`},
	{"anybody", nil, `"any user", "any role", "any process"`},
	{"everybody", names, `"all users", "each user"`},
	{"nobody", []kind{message, markdown}, `"no user", "no process", "nothing"`},

	{"census", names, `"report"`},
	{"attendance", names, `"listing"`},
	{"calls? the roll|roll call", nil, `"compares all users"`},
	{"strangers?", names, `of rows "unowned"; of requests "unverified"; of a role "another role"`},
	{"blam(e|es|ed|ing)", names, `"is the fault of"`},
	{"crowd(s|ed)?", names, `"connections"`},
	{"naps?", names, `"sleep"`},
	{"bur(y|ies|ied)", names, `"delete"`},
	{"departures?", names, `"deletions"`},
	{"doors?|doorway", names, `"endpoint"`},
	{"houses?|offices?|neighbours?|witness(es)?", names, `what it is: "process", "server", "next row", "check"`},
	{"in the world|world of", names, `"environment"`},
}

// names are the texts in which a former name is wrong. The data of tests may have any.
var names = []kind{comment, message, markdown, file}

// patterns find the words of each line of the table, and some finds any of them: most texts have none.
var patterns, some = func() (each []*regexp.Regexp, some *regexp.Regexp) {
	pattern := func(words string) *regexp.Regexp { return regexp.MustCompile(`(?i)\b(` + words + `)\b`) }
	var all []string
	for _, r := range rejected {
		each = append(each, pattern(r.words))
		all = append(all, r.words)
	}
	return each, pattern(strings.Join(all, "|"))
}()

// passage is a text and where it begins.
type passage struct {
	kind kind
	line int
	text string
}

// fault is a rejected word.
type fault struct {
	line          int
	word, instead string
}

// faults are the rejected words of a text, in the order of the table.
func faults(p passage) []fault {
	if !some.MatchString(p.text) {
		return nil
	}
	var all []fault
	for n, r := range rejected {
		if r.in != nil && !slices.Contains(r.in, p.kind) {
			continue
		}
		for _, at := range patterns[n].FindAllStringIndex(p.text, -1) {
			line := p.line + strings.Count(p.text[:at[0]], "\n")
			all = append(all, fault{line, p.text[at[0]:at[1]], r.instead})
		}
	}
	return all
}

// passages are the texts of a file that people read. Of Go they are the comments and the strings; a string of one
// word is a value of the program and may be any.
func passages(t *testing.T, path, text string) []passage {
	t.Helper()
	switch {
	case filepath.Ext(path) == ".md":
		return []passage{{markdown, 1, text}}
	case filepath.Ext(path) != ".go":
		return []passage{{file, 1, text}}
	}
	literal := message
	if strings.HasSuffix(path, "_test.go") {
		literal = testText
	}
	var all []passage
	files := token.NewFileSet()
	of := files.AddFile(path, -1, len(text))
	var s scanner.Scanner
	s.Init(of, []byte(text), func(at token.Position, msg string) { t.Errorf("%s: %s", at, msg) }, scanner.ScanComments)
	for {
		pos, tok, lit := s.Scan()
		switch {
		case tok == token.EOF:
			return all
		case tok == token.COMMENT:
			all = append(all, passage{comment, of.Line(pos), lit})
		case tok == token.STRING && !oneWord(lit):
			all = append(all, passage{literal, of.Line(pos), lit})
		}
	}
}

func oneWord(literal string) bool {
	value, err := strconv.Unquote(literal)
	return err == nil && !strings.ContainsAny(value, " \n`")
}

// isRead is whether people read a file as text, and not what a provider has sent or a tool has drawn.
func isRead(path string) bool {
	switch filepath.Base(path) {
	case "words_test.go": // it lists them
		return false
	case "Makefile", "Dockerfile", "run", ".env.example":
		return true
	}
	return slices.Contains([]string{".go", ".md", ".mjs", ".service", ".sql", ".tmpl", ".txt", ".txtar", ".yaml", ".yml"}, filepath.Ext(path))
}

// What people read has the words of the glossary and of the field: no person stands for a user, and no image for a term.
func TestWords(t *testing.T) {
	t.Parallel()
	seen := 0
	must.Do(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "dist", "node_modules"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || !isRead(path):
			return nil
		}
		seen++
		for _, p := range passages(t, path, read(t, path)) {
			for _, f := range faults(p) {
				t.Errorf("%s:%d: %q: write %s", strings.TrimPrefix(path, root+"/"), f.line, f.word, f.instead)
			}
		}
		return nil
	}))
	must.True(t, seen > 400, "looked into %d files", seen)
}

// Words are found in all texts, on their line, and neither names of the code nor values are taken for them.
func TestWordsAreFound(t *testing.T) {
	t.Parallel()
	const code = "package p\n\n// Crowd lets him in,\n// and nobody else.\nfunc her() string {\n\treturn \"nobody\" + `a\n<- his` + \"nobody is there\"\n}\n"
	for path, want := range map[string][]string{
		"p.go":      {"3 him", "3 Crowd", "7 his", "7 nobody"},
		"p_test.go": {"3 him", "3 Crowd", "7 his"},
		"p.sql":     {"3 him", "7 his", "3 Crowd", "5 her"},
		"p.md":      {"3 him", "7 his", "5 her", "4 nobody", "6 nobody", "7 nobody", "3 Crowd"},
	} {
		var got []string
		for _, p := range passages(t, path, code) {
			for _, f := range faults(p) {
				got = append(got, strconv.Itoa(f.line)+" "+f.word)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", path, diff)
		}
	}
}
