package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

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
	var want strings.Builder
	for _, command := range commandsOf(newRoot(environment{getenv: os.Getenv})) {
		want.WriteString(helpOf(command))
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
		if c.HasSubCommands() {
			all = append(all, commandsOf(c)...)
		} else if c.IsAvailableCommand() {
			all = append(all, c)
		}
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
