package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
)

// The exit codes.
const (
	exitFine     = 0
	exitProblems = 1
	exitUsage    = 2
)

// errUsage marks a command line that can't be followed.
type errUsage struct{ error }

// run executes a command line and returns its exit code.
func run(ctx context.Context, w environment) int {
	err := newRoot(w).ExecuteContext(ctx)
	_, usage := errors.AsType[errUsage](err)
	_, unknown := errors.AsType[*app.UnknownSourceError](err)
	switch {
	case err == nil:
		return exitFine
	case usage || unknown:
		w.complain("%v\nrun rollcall --help for the commands and their flags", err)
		return exitUsage
	default:
		w.complain("%v", err)
		return exitProblems
	}
}

// complain writes to stderr; what may hold a provider's text is spelled out.
func (w environment) complain(format string, values ...any) {
	fmt.Fprintf(event.PrintableTo(w.stderr), "rollcall: "+format+"\n", values...)
}

func newRoot(w environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "rollcall",
		Short:         "Keeps every application's own user table in step with its auth provider",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help() // writes to the command's own output
			return errUsage{errors.New("a command is needed")}
		},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errUsage{fmt.Errorf("there is no command %q", args[0])}
			}
			return nil
		},
	}
	root.SetArgs(w.args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errUsage{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringP("config", "c", "", "the configuration file (default $ROLLCALL_CONFIG, else rollcall.yaml)")
	root.AddCommand(newDemo(w), newServe(w), newMigrate(w), newCapture(w), newReconcile(w), newBackfill(w), newCheck(w), newSend(w), newSign(w), newLoad(w), newHealth(w), newVersion(w))
	return root
}

// noArgs is cobra.NoArgs with the exit code of a wrong command line.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return errUsage{err}
	}
	return nil
}

// sourceArg wants the name of a source, once; with least 0 it may be left out.
func sourceArg(least int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least {
			return errUsage{errors.New("name the source")}
		}
		if len(args) > 1 {
			return errUsage{fmt.Errorf("one source at a time: %q is too many", args[1])}
		}
		return nil
	}
}

// load reads the configuration; its error lists everything that is wrong with it.
func load(cmd *cobra.Command, w environment) (*app.Setup, error) {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	file = cmp.Or(file, w.getenv("ROLLCALL_CONFIG"), "rollcall.yaml")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration at %s; name one with -c or ROLLCALL_CONFIG, or run rollcall demo, which needs none", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return app.Read(file, data, w.getenv)
}

// onDatabase runs do on the database of a configuration, and closes its connections.
func onDatabase(w environment, s *app.Setup, do func(*postgres.DB) error) error {
	db, err := s.Open(s.Logger(w.stderr))
	if err != nil {
		return err
	}
	defer app.CloseSoon(db)
	return do(db)
}
