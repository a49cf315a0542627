package operate

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/config"
)

const validateHelp = `Reads the configuration as serve does, and lists every mistake with its place, file:line:column.
It asks no database: whether there are such tables and columns, and what the expressions mean
to PostgreSQL, serve finds out, and migrate --print.

Exits 0 when there is none, 1 when there are some. A variable that is not set is a mistake, too.
--allow-unset is for where the secrets are not, such as a pipeline: what such a variable would
hold is not checked then.

--output json prints one object:
  file                  the name of the configuration
  sources, targets      their numbers, as far as they could be read
  unset                 with --allow-unset: the variables that are not set
  mistakes              each with at (file:line:column), line, column and what`

// validation is the result of validate.
type validation struct {
	File     string    `json:"file"`
	Sources  int       `json:"sources"`
	Targets  int       `json:"targets"`
	Unset    []string  `json:"unset,omitempty"`
	Mistakes []mistake `json:"mistakes"`
}

// mistake is one of the configuration.
type mistake struct {
	At     string `json:"at"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	What   string `json:"what"`
}

func newValidate(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Lists every mistake of the configuration, without a database",
		Long:  validateHelp,
		Args:  cli.NoArgs,
	}
	var allowUnset bool
	cmd.Flags().BoolVar(&allowUnset, "allow-unset", false, "variables that are not set are no mistakes")
	out := cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		file, data, err := env.ReadConfig(cmd)
		if err != nil {
			return err
		}
		v := validation{File: file, Mistakes: []mistake{}}
		in := config.Env{Getenv: env.Getenv, ReadFile: os.ReadFile}
		if allowUnset {
			in.Unset = v.addUnset
		}
		s, problems := app.Validate(file, data, in)
		v.add(s, problems)
		return v.print(env, out, problems)
	}
	return cmd
}

func (v *validation) addUnset(name string) {
	if !slices.Contains(v.Unset, name) {
		v.Unset = append(v.Unset, name)
	}
}

func (v *validation) add(s *app.Setup, problems config.Problems) {
	if s != nil {
		v.Sources, v.Targets = len(s.Config.Sources), len(s.Config.Targets)
	}
	for _, p := range problems {
		v.Mistakes = append(v.Mistakes, mistake{p.Pos.String(), p.Pos.Line, p.Pos.Column, p.What})
	}
}

// print writes the result. As text, mistakes are the error that serve would end with.
func (v *validation) print(env cli.Env, out *cli.Output, problems config.Problems) error {
	if *out == "text" && len(problems) > 0 {
		return app.Unusable(problems)
	}
	if err := out.Write(env.Stdout, v, v.text); err != nil {
		return err
	}
	if len(problems) > 0 {
		return fmt.Errorf("mistakes in %s: %d", v.File, len(problems))
	}
	return nil
}

func (v *validation) text(to io.Writer) error {
	line := fmt.Sprintf("%s has no mistakes: sources %d, targets %d", v.File, v.Sources, v.Targets)
	if len(v.Unset) > 0 {
		line += "; not set, and not checked: " + strings.Join(v.Unset, ", ")
	}
	_, err := fmt.Fprintln(to, line)
	return err
}
