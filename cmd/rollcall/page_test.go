package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/must"
)

var update = flag.Bool("update", false, "rewrite the generated pages")

const (
	commandsPage = "../../docs/commands.md"
	generated    = "-run TestCommandsPage -update -->\n"
)

// Below its mark, the page about the commands is what --help prints.
func TestCommandsPage(t *testing.T) {
	t.Parallel()
	page := string(must.Get(os.ReadFile(commandsPage))(t))
	before, got, found := strings.Cut(page, generated)
	must.True(t, found, "%s has no mark %q", commandsPage, generated)
	overview, _, _ := strings.Cut(before, "\n\nAll but")
	var want strings.Builder
	for _, command := range commandsOf(newRoot(cli.Env{Getenv: os.Getenv})) {
		want.WriteString(helpOf(command))
		name := strings.TrimPrefix(command.CommandPath(), "rollcall ")
		must.True(t, strings.Contains(overview, "`"+name), "the table of %s lacks %s", commandsPage, name)
	}
	if *update {
		must.Do(t, os.WriteFile(commandsPage, []byte(before+generated+want.String()), 0o644))
		return
	}
	if diff := cmp.Diff(got, want.String()); diff != "" {
		t.Errorf("docs/commands.md is not what --help says; rewrite it with go test ./cmd/rollcall -run %s -update (-page +help):\n%s", t.Name(), diff)
	}
}

// commandsOf are the commands below one that do something by themselves.
func commandsOf(command *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, c := range command.Commands() {
		if c.IsAvailableCommand() && (!c.HasSubCommands() || c.Long != "") { // one that only has others is in a line
			all = append(all, c)
		}
		all = append(all, commandsOf(c)...)
	}
	return all
}

// helpOf is a section of the page.
func helpOf(c *cobra.Command) string {
	text := c.Long
	if text == "" {
		text = c.Short
	}
	text += "\n\nUsage:\n  " + c.UseLine()
	if c.HasExample() {
		text += "\n\nExamples:\n" + c.Example
	}
	if flags := c.LocalFlags().FlagUsages(); flags != "" {
		text += "\n\nFlags:\n" + strings.TrimRight(flags, "\n")
	}
	name := strings.TrimPrefix(c.CommandPath(), "rollcall ")
	return fmt.Sprintf("\n## %s\n\n```\n%s\n```\n", name, text)
}

var (
	shellBlocks  = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$")
	commandSpans = regexp.MustCompile("`(rollcall [^`]+|--[a-z][^`]*)`")
	hereDocument = regexp.MustCompile(`(?ms)<<'?(\w+)'?$.*?^ *\w+$`)
	comments     = regexp.MustCompile(`(?m)(^|\s)#.*$`)
	parts        = regexp.MustCompile(`\|\|?|&&?|;|\bdo\b|\n`)
	redirection  = regexp.MustCompile(`^\d?>`)
	assignment   = regexp.MustCompile(`^\w+=`)
	shellWords   = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)
)

// What the documentation tells people to run exists: commands, their flags and arguments, make's targets,
// Go's packages.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md"} {
		for _, file := range must.Get(filepath.Glob("../../" + pattern))(t) {
			text := string(must.Get(os.ReadFile(file))(t))
			for _, block := range shellBlocks.FindAllStringSubmatch(text, -1) {
				script := strings.ReplaceAll(block[1], "\\\n", " ")
				script = comments.ReplaceAllString(hereDocument.ReplaceAllString(script, ""), "")
				for _, part := range parts.Split(script, -1) {
					program, complaint := complain(shellWords.FindAllString(part, -1), true)
					seen[program]++
					must.True(t, complaint == "", "%s: %s in %q", file, complaint, part)
				}
			}
			for _, span := range commandSpans.FindAllStringSubmatch(text, -1) {
				_, complaint := complain(shellWords.FindAllString(span[1], -1), false)
				must.True(t, complaint == "", "%s: %s in %q", file, complaint, span[1])
			}
		}
	}
	must.True(t, seen["rollcall"] > 30 && seen["make"] > 0 && seen["go"] > 2, "found %v", seen)
}

// complain says what is wrong with a command, whole or as the text names it, and which program runs it.
func complain(words []string, whole bool) (program, complaint string) {
	words = slices.DeleteFunc(words, redirection.MatchString)
	for len(words) > 0 && (words[0] == "until" || assignment.MatchString(words[0])) {
		words = words[1:]
	}
	if len(words) == 0 {
		return "", ""
	}
	program, args := strings.TrimPrefix(words[0], "./"), words[1:]
	switch {
	case program == "go" && len(args) > 1 && args[0] == "run" && args[1] == "./cmd/rollcall":
		return complain(append([]string{"rollcall"}, args[2:]...), whole)
	case program == "rollcall":
		return program, complainOfCommand(args, whole)
	case strings.HasPrefix(program, "--"):
		return "", complainOfFlag(strings.TrimPrefix(strings.SplitN(program, "=", 2)[0], "--"))
	case program == "make":
		makefile, _ := os.ReadFile("../../Makefile") // without it there is no target
		if !strings.Contains(string(makefile), "\n"+args[0]+":") {
			return program, "the Makefile has no target " + args[0]
		}
	case program == "go":
		at := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "./") })
		if at >= 0 && !exists("../../"+strings.TrimSuffix(args[at], "/...")) {
			return program, "there is no package " + args[at]
		}
	}
	return program, ""
}

func complainOfCommand(args []string, whole bool) string {
	root := newRoot(cli.Env{Getenv: os.Getenv})
	command, rest, err := root.Find(args)
	switch {
	case err != nil:
		return err.Error()
	case command == root && len(rest) > 0 && !strings.HasPrefix(rest[0], "--"):
		return "there is no command " + rest[0]
	}
	for i := range rest {
		rest[i] = strings.Trim(rest[i], `'"`)
	}
	command.InitDefaultVersionFlag() // as Execute does
	if err := command.ParseFlags(rest); err != nil {
		return err.Error()
	}
	if whole {
		if err := command.ValidateArgs(command.Flags().Args()); err != nil {
			return err.Error()
		}
	}
	return ""
}

// complainOfFlag complains of a flag that no command has.
func complainOfFlag(name string) string {
	root := newRoot(cli.Env{Getenv: os.Getenv})
	known := slices.ContainsFunc(append(commandsOf(root), root), func(c *cobra.Command) bool {
		c.InitDefaultHelpFlag()
		return c.LocalFlags().Lookup(name) != nil
	})
	if !known {
		return "no command has the flag --" + name
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
