// Package cli is what every command shares: its environment, the configuration and the database it works on, its
// output, its exit codes, and the words for a wrong command line.
//
//	func newExample(env cli.Env) *cobra.Command {
//		cmd := &cobra.Command{Use: "example", Short: "Shows the targets", Args: cli.NoArgs}
//		out := cli.AddOutput(cmd)
//		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
//			s, err := env.Load(cmd)
//			if err != nil {
//				return err
//			}
//			return env.OnDatabase(s, func(db *postgres.DB) error {
//				…
//				return out.Write(env.Stdout, result, result.text)
//			})
//		}
//		return cmd
//	}
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/event"
)

// The exit codes.
const (
	ExitFine     = 0
	ExitProblems = 1
	ExitUsage    = 2
)

// Env is all that a command sees of the machine.
type Env struct {
	Args   []string
	Getenv func(string) string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Hangup <-chan os.Signal // SIGHUP
}

// Execute runs the command line and returns its exit code.
func (env Env) Execute(ctx context.Context, root *cobra.Command) int {
	cmd, err := root.ExecuteContextC(ctx)
	_, usage := errors.AsType[usageError](err)
	_, unknown := errors.AsType[*app.UnknownSourceError](err)
	switch {
	case err == nil:
		return ExitFine
	case usage || unknown:
		has := "its flags"
		if cmd.HasAvailableSubCommands() {
			has = "the commands and their flags"
		}
		env.Complain("%v\nrun %s --help for %s", err, cmd.CommandPath(), has)
		return ExitUsage
	default:
		env.Complain("%v", err)
		return ExitProblems
	}
}

// Complain writes to stderr; what may hold a provider's text is spelled out.
func (env Env) Complain(format string, values ...any) {
	fmt.Fprintf(event.PrintableTo(env.Stderr), "rollcall: "+format+"\n", values...)
}

// UntilHangup is a context that ends when the terminal goes away.
func (env Env) UntilHangup(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-env.Hangup:
		case <-ctx.Done():
		}
	}()
	return ctx
}
