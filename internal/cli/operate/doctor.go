package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/config"
	"rollcall/internal/doctor"
	"rollcall/internal/postgres"
	"rollcall/internal/terminal"
)

const doctorHelp = `Looks for what is wrong: in the configuration, the database and the rights there, the targets, the
sources and what reports their changes, the provider's API, and what runs. It changes nothing, and
needs no more rights than Rollcall's own role has; what it can't see it says.

Each finding has a code, a place (file:line:column, or a thing of the database), what it means, and
what corrects it, to paste: SQL for the owner of what it names, YAML in place of the same field of
the configuration, or a command. docs/doctor.md lists the codes. serve looks every five minutes, logs
each finding once, and counts them in the metric rollcall_findings.

Exits 1 when something is found, but for notices, which are worth knowing only.

--output json prints one object:
  findings   each with code, severity (error, warning, notice), place, meaning, and remedy:
             kind (sql, yaml, command) and text
  unseen     what could not be checked: check and why`

func newDoctor(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Says what is wrong, where, and what to do about it",
		Long:  doctorHelp,
		Args:  cli.NoArgs,
	}
	out := cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := diagnose(cmd, env)
		if err != nil {
			return err
		}
		if err := out.Write(env.Stdout, d, func(to io.Writer) error { return writeDiagnosis(to, d) }); err != nil {
			return err
		}
		return verdict(d)
	}
	return cmd
}

// diagnose examines what the command line names.
func diagnose(cmd *cobra.Command, env cli.Env) (d *doctor.Diagnosis, err error) {
	file, data, err := env.ReadConfig(cmd)
	if err != nil {
		return nil, err
	}
	s, problems := app.Validate(file, data, config.Env{Getenv: env.Getenv, ReadFile: os.ReadFile})
	if len(problems) > 0 {
		return doctor.File(problems), nil
	}
	err = env.OnDatabase(s, func(db *postgres.DB) error {
		finish := env.Waiting("examining")
		defer finish()
		d = examine(cmd.Context(), s, db)
		return interrupted(cmd.Context())
	})
	return d, err
}

// interrupted is the error of an examination that was stopped: what it has not seen is no finding.
func interrupted(ctx context.Context) error {
	if ctx.Err() != nil {
		return errors.New("interrupted: what was not looked at may be wrong")
	}
	return nil
}

func examine(ctx context.Context, s *app.Setup, db *postgres.DB) *doctor.Diagnosis {
	return doctor.Examine(ctx, s.Doctor(db, s.APIs(s.Logger(io.Discard))))
}

// verdict is the error of a diagnosis with findings.
func verdict(d *doctor.Diagnosis) error {
	n := 0
	for _, f := range d.Findings {
		if f.Severity != doctor.Notice {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("findings: %d", n)
}

// writeDiagnosis writes a paragraph for each finding. What is to be pasted keeps its lines, however long.
func writeDiagnosis(to io.Writer, d *doctor.Diagnosis) error {
	var lines []string
	for _, f := range d.Findings {
		lines = append(lines, terminal.Fill(fmt.Sprintf("%s %s at %s", f.Severity, f.Code, f.Place), 2)...)
		lines = append(lines, terminal.Fill("  "+f.Meaning, 2)...)
		lines = append(lines, pasted(f.Remedy)...)
		lines = append(lines, "")
	}
	lines = append(lines, unseenLines(d.Unseen)...)
	switch {
	case len(d.Findings) > 0:
	case len(d.Unseen) > 0:
		lines = append(lines, "nothing is wrong in what could be checked")
	default:
		lines = append(lines, "nothing is wrong")
	}
	_, err := fmt.Fprintln(to, strings.TrimSpace(strings.Join(lines, "\n")))
	return err
}

// unseenLines are the checks without a result, those that follow each other for one reason together.
func unseenLines(list []doctor.Unseen) (lines []string) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Why == list[0].Why {
			n++
		}
		var checks []string
		for _, u := range list[:n] {
			checks = append(checks, u.Check)
		}
		lines = append(lines, terminal.Fill(fmt.Sprintf("not checked: %s: %s", strings.Join(checks, ", "), list[0].Why), 2)...)
		list = list[n:]
	}
	return lines
}

// kinds say where a remedy is pasted.
var kinds = map[config.Kind]string{
	config.SQL: "run as its owner:", config.YAML: "write into the configuration:", config.Command: "run:",
}

func pasted(r config.Remedy) []string {
	text := r.Text
	if r.Kind == config.SQL {
		text = strings.ReplaceAll(text, "; ", ";\n")
	}
	lines := []string{"  " + kinds[r.Kind]}
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, "    "+line)
	}
	return lines
}
