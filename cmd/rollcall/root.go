package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/cli/operate"
	"rollcall/internal/cli/sample"
	"rollcall/internal/terminal"
)

// run executes a command line and returns its exit code.
func run(ctx context.Context, env cli.Env) int { return env.Execute(ctx, newRoot(env)) }

func newRoot(env cli.Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "rollcall",
		Short:         "Keeps every application's own user table in step with its auth provider",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help() // writes to the command's own output
			return cli.Usagef("a command is needed")
		},
		Args:    cli.NoArgs,
		Version: buildVersion(),
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if cmd.Name() != "serve" {
				cmd.SetContext(env.UntilHangup(cmd.Context()))
			}
		},
	}
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(env.FlagError)
	root.CompletionOptions.DisableDefaultCmd = true // ours has the exit codes and the words of the others
	cli.AddConfig(root)
	root.AddCommand(newDemo(env), newServe(env), newMigrate(env), newCapture(env), newClaims(env), newRLS(env), newReconcile(env), newBackfill(env),
		newCheck(env), newHealth(env), newCompletion(env), newSchema(env), newVersion(env))
	root.AddCommand(sample.Commands(env)...)
	root.AddCommand(operate.Commands(env)...)
	cli.CompleteFlags(root)
	narrow(root)
	return root
}

// narrow keeps the help of all commands within the columns of a terminal.
func narrow(cmd *cobra.Command) {
	cmd.Long = terminal.Fold(cmd.Long)
	wrapped := fmt.Sprintf(".FlagUsagesWrapped %d ", terminal.Width)
	cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), ".FlagUsages ", wrapped))
	for _, below := range cmd.Commands() {
		narrow(below)
	}
}
