package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollcall/internal/target"
)

// What is wrong with a command line, in words that say what may have been meant.

// errUsage marks a command line that can't be followed.
type errUsage struct{ error }

func usagef(format string, values ...any) error { return errUsage{fmt.Errorf(format, values...)} }

// noArgs is for commands without arguments. Of one that has commands below it, an argument is the name
// of one that there isn't.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasAvailableSubCommands() {
		return unknownCommand(cmd, args[0])
	}
	return tooMany(fmt.Sprintf("%s takes no arguments", cmd.CommandPath()), args[0])
}

// unknownCommand says what may be meant by the name of a command that there isn't.
func unknownCommand(cmd *cobra.Command, name string) error {
	what := "there is no command"
	if cmd.HasParent() {
		what = cmd.CommandPath() + " has no command"
	}
	var known []string
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	return usagef("%s %q%s", what, name, didYouMean(target.Nearest(name, known)))
}

func didYouMean(meant string) string {
	if meant == "" {
		return ""
	}
	return "; did you mean " + meant + "?"
}

// tooMany is about an argument too many, which is often the configuration.
func tooMany(rule, arg string) error {
	hint := ""
	if slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(arg)) {
		hint = "; to name the configuration, write -c " + arg
	}
	return usagef("%s: %q is too many%s", rule, arg, hint)
}

// oneArg wants the name of a thing, once; with least 0 it may be left out.
func oneArg(noun string, least int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least {
			return usagef("name the %s", noun)
		}
		if len(args) > 1 {
			return tooMany("one "+noun+" at a time", args[1])
		}
		return nil
	}
}

// flagError says what may be meant by a flag that there isn't.
func (w environment) flagError(cmd *cobra.Command, err error) error {
	for _, arg := range w.args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if len(name) > 1 && name[0] != '-' && arg[0] == '-' && cmd.Flags().Lookup(name) != nil {
			return usagef("%w; did you mean --%s?", err, name) // pflag takes its letters apart
		}
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return errUsage{err}
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	meant := target.Nearest(unknown.GetSpecifiedName(), known)
	if meant != "" {
		meant = "--" + meant
	}
	return usagef("%w%s", err, didYouMean(meant))
}
