package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/terminal"
)

// The exit codes.
const (
	exitFine     = 0
	exitProblems = 1
	exitUsage    = 2
)

// run executes a command line and returns its exit code.
func run(ctx context.Context, w environment) int {
	cmd, err := newRoot(w).ExecuteContextC(ctx)
	_, usage := errors.AsType[errUsage](err)
	_, unknown := errors.AsType[*app.UnknownSourceError](err)
	switch {
	case err == nil:
		return exitFine
	case usage || unknown:
		has := "its flags"
		if cmd.HasAvailableSubCommands() {
			has = "the commands and their flags"
		}
		w.complain("%v\nrun %s --help for %s", err, cmd.CommandPath(), has)
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
		Args:    noArgs,
		Version: buildVersion(),
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if cmd.Name() != "serve" {
				cmd.SetContext(w.untilHangup(cmd.Context()))
			}
		},
	}
	root.SetArgs(w.args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(w.flagError)
	root.CompletionOptions.DisableDefaultCmd = true // ours has the exit codes and the words of the others
	root.PersistentFlags().StringP("config", "c", "",
		"the configuration file (default: the text in $"+inVariable+", else the file $ROLLCALL_CONFIG, else rollcall.yaml)")
	root.AddCommand(newDemo(w), newServe(w), newMigrate(w), newCapture(w), newReconcile(w), newBackfill(w), newCheck(w),
		newSend(w), newSign(w), newLoad(w), newHealth(w), newCompletion(w), newSchema(w), newVersion(w))
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // fails for an unknown flag
	completeFlags(root)
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

// untilHangup is a context that ends when the terminal goes away.
func (w environment) untilHangup(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-w.hangup:
		case <-ctx.Done():
		}
	}()
	return ctx
}

// inVariable is the name of the variable that may hold the text of the configuration.
const inVariable = "ROLLCALL_CONFIG_YAML"

// readConfig finds the text of the configuration, and the name that errors call it by. What a command line
// says comes first, then the text in the variable: an image that names a file must not hide it.
func readConfig(cmd *cobra.Command, w environment) (file string, data []byte, err error) {
	file, err = cmd.Flags().GetString("config")
	if err != nil {
		return "", nil, err
	}
	if text := w.getenv(inVariable); file == "" && text != "" {
		return inVariable, []byte(text), nil
	}
	file = cmp.Or(file, w.getenv("ROLLCALL_CONFIG"), "rollcall.yaml")
	data, err = os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("there is no configuration at %s; "+
			"name one with -c or ROLLCALL_CONFIG, or run rollcall demo, which needs none", file)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read the configuration: %w", err)
	}
	return file, data, nil
}

// load reads the configuration; its error lists everything that is wrong with it.
func load(cmd *cobra.Command, w environment) (*app.Setup, error) {
	file, data, err := readConfig(cmd, w)
	if err != nil {
		return nil, err
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
