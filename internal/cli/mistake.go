package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollcall/internal/target"
)

// What is wrong with a command line, in words that say what may have been meant.

// usageError marks a command line that can't be followed.
type usageError struct{ error }

// Usagef is the error of a command line that can't be followed, which has an exit code of its own.
func Usagef(format string, values ...any) error { return usageError{fmt.Errorf(format, values...)} }

// NoArgs is for commands without arguments. Of one that has commands below it, an argument is the name
// of one that there isn't.
func NoArgs(cmd *cobra.Command, args []string) error {
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
	return Usagef("%s %q%s", what, name, DidYouMean(target.Nearest(name, known)))
}

// DidYouMean ends an error with the name that may be meant; "" ends it with nothing.
func DidYouMean(meant string) string {
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
	return Usagef("%s: %q is too many%s", rule, arg, hint)
}

// OneArg wants the name of a thing, once; with least 0 it may be left out.
func OneArg(noun string, least int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least {
			return Usagef("name the %s", noun)
		}
		if len(args) > 1 {
			return tooMany("one "+noun+" at a time", args[1])
		}
		return nil
	}
}

// byParsing is what a flag's error says of the function that has read its value.
var byParsing = regexp.MustCompile(`: strconv\.\w+: parsing "(?:[^"\\]|\\.)*": `)

// FlagError says what may be meant by a flag that there isn't.
func (env Env) FlagError(cmd *cobra.Command, err error) error {
	for _, arg := range env.Args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if len(name) > 1 && name[0] != '-' && arg[0] == '-' && cmd.Flags().Lookup(name) != nil {
			return Usagef("%w; did you mean --%s?", err, name) // pflag takes its letters apart
		}
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return Usagef("%s", byParsing.ReplaceAllString(err.Error(), ": "))
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	meant := target.Nearest(unknown.GetSpecifiedName(), known)
	if meant != "" {
		meant = "--" + meant
	}
	return Usagef("%w%s", err, DidYouMean(meant))
}
