package operate

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/config"
	"rollcall/internal/doctor"
	"rollcall/internal/postgres"
	"rollcall/internal/terminal"
)

const statusHelp = `Shows what an installation is doing: its sources with the age of their last event, its targets, what
waits, the jobs, the last reconciliations, the replicas, and what rollcall doctor finds. It asks the
database, so it does not matter where serve runs.

The age of a source's last event is as serve notes it, every five seconds. The configuration of a
replica is a hash: the same for the same targets.

Of a target, DIFFER is how many users the last check has found out of step; STATE is out when it is out
of service, and unfilled when it lacks users from before it.

Exits 1 when something is wrong: when there is a finding that is more than a notice.

--output json prints one object:
  sources          each with name, provider, decides (table or events), last_event, age_seconds,
                   capture (installed, missing, disabled, other source), waiting
                   and claims (installed, missing, outdated)
  targets          each with name, table, state, error, parked, given_up, out_of_step, checked, filled
  queue            captured, oldest_seconds, parked, jobs_waiting, jobs_running
  jobs             the last run of each: name, state (running, waiting, done, failed), at, error
  reconciliations  each with source, ended, success, error and users
  replicas         each with id, config and seen_at
  findings, unseen as doctor prints them`

func newStatus(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Shows what runs, what waits and what is wrong",
		Long:  statusHelp,
		Args:  cli.NoArgs,
	}
	out := cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		file, data, err := env.ReadConfig(cmd)
		if err != nil {
			return err
		}
		s, problems := app.Validate(file, data, config.Env{Getenv: env.Getenv, ReadFile: os.ReadFile})
		if len(problems) > 0 {
			return app.Unusable(problems)
		}
		var now *doctor.Status
		err = env.OnDatabase(s, func(db *postgres.DB) error {
			finish := env.Waiting("looking")
			defer finish()
			now = doctor.Look(cmd.Context(), s.Doctor(db, s.APIs(s.Logger(io.Discard))))
			return interrupted(cmd.Context())
		})
		if err == nil {
			err = out.Write(env.Stdout, now, func(to io.Writer) error { return writeStatus(to, now) })
		}
		if err != nil {
			return err
		}
		return verdict(&now.Diagnosis)
	}
	return cmd
}

// writeStatus writes a table for each part, and a line for each finding.
func writeStatus(to io.Writer, s *doctor.Status) error {
	var text strings.Builder
	for _, part := range []struct {
		header string
		rows   []string
	}{
		{"SOURCE\tPROVIDER\tDECIDES\tLAST EVENT\tCAPTURE\tCLAIMS\tWAITING", sourceRows(s)},
		{"TARGET\tTABLE\tSTATE\tPARKED\tDIFFER\tCHECKED", targetRows(s)},
		{"RECONCILED\tENDED\tLAST SUCCESS\tRESULT", reconciledRows(s)},
		{"JOB\tSTATE\tSINCE", jobRows(s)},
		{"REPLICA\tCONFIGURATION\tSEEN", replicaRows(s)},
	} {
		if len(part.rows) == 0 {
			continue
		}
		table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, part.header+"\n"+strings.Join(part.rows, "\n")) // a builder takes everything
		_ = table.Flush()
		text.WriteString("\n")
	}
	if q := s.Queue; s.Seen() {
		fmt.Fprintf(&text, "waiting: captured changes %d, parked users %d, jobs %d\n\n", q.Captured, q.Parked, q.JobsWaiting)
	}
	for _, f := range s.Findings {
		text.WriteString(strings.Join(terminal.Fill(fmt.Sprintf("%s %s at %s: %s", f.Severity, f.Code, f.Place, f.Meaning), 2), "\n") + "\n")
	}
	for _, line := range unseenLines(s.Unseen) {
		text.WriteString(line + "\n")
	}
	text.WriteString(conclusion(&s.Diagnosis))
	_, err := fmt.Fprintln(to, text.String())
	return err
}

func conclusion(d *doctor.Diagnosis) string {
	switch {
	case len(d.Findings) > 0:
		return "rollcall doctor says what to do"
	case len(d.Unseen) > 0:
		return "nothing is wrong in what could be checked"
	}
	return "nothing is wrong"
}

func row(cells ...string) string { return strings.Join(cells, "\t") }

func sourceRows(s *doctor.Status) (rows []string) {
	for _, src := range s.Sources {
		rows = append(rows, row(cut(src.Name, 15), src.Provider, src.Decides, ago(src.LastEvent), cmp.Or(src.Capture, "-"), cmp.Or(src.Claims, "-"),
			strconv.FormatInt(src.Waiting, 10)))
	}
	return rows
}

func targetRows(s *doctor.Status) (rows []string) {
	for _, t := range s.Targets {
		state, step := "ok", "-"
		switch {
		case t.Error != "":
			state = "out"
		case !t.Filled:
			state = "unfilled"
		}
		if t.OutOfStep != nil {
			step = strconv.FormatInt(*t.OutOfStep, 10)
		}
		rows = append(rows, row(cut(t.Name, 16), cut(t.Table, 20), state, strconv.FormatInt(t.Parked, 10), step, ago(t.Checked)))
	}
	return rows
}

func reconciledRows(s *doctor.Status) (rows []string) {
	for _, r := range s.Reconciled {
		result := "-"
		switch u := r.Users; {
		case r.Error != "":
			result = cut(r.Error, 32)
		case r.Ended != nil:
			result = fmt.Sprintf("+%d ~%d -%d, failed %d", u.Created, u.Updated, u.Deleted, u.Failed)
		}
		rows = append(rows, row(cut(r.Source, 18), ago(r.Ended), ago(r.Success), result))
	}
	return rows
}

func jobRows(s *doctor.Status) (rows []string) {
	for _, j := range s.Jobs {
		state := j.State
		if j.Error != "" {
			state += ": " + cut(j.Error, 30)
		}
		rows = append(rows, row(cut(j.Name, 28), state, ago(&j.At)))
	}
	return rows
}

func replicaRows(s *doctor.Status) (rows []string) {
	for _, r := range s.Replicas {
		rows = append(rows, row(r.ID, r.Config, ago(&r.SeenAt)))
	}
	return rows
}

// ago is how long ago a moment was, in the largest unit.
func ago(t *time.Time) string {
	if t == nil {
		return "never"
	}
	d := max(0, time.Since(*t))
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < day:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d d ago", int(d/day))
}

// cut shortens a cell; its line breaks and tabs would be others'.
func cut(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
