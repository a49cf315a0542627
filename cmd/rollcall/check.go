package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/cli/operate"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
)

const checkHelp = `Compares every user of the roll with their row in every target that follows their source, and
counts the users by state:

  present    the row is as the roll says; columns of on_insert are the application's own
  missing    there is no row
  adoptable  there is no row but one without a key, which the user may take over
             (match)
  extra      the user is deleted and the row is not; or the roll does not have
             the row
  different  a column of set has another value
  parked     the target refused the user; rollcall.parked says why
  suppressed a trigger of the table keeps the row from being written or removed
  rewritten  a trigger of the table gives a column of set another value

The counts are kept for the metrics. Exits 1 when anything but present was found, except what triggers
decide and rows that the roll does not have: those count with --strict. To see what triggers decide,
check settles users in a transaction that it rolls back. Organizations and memberships are compared in
the same way with the targets that follow them.

--user checks one user, by id or e-mail, and says what is wrong; or an organization or a membership
by its id.

--repair settles users who are out of step, as their next event would, and counts again. Rows that
the roll does not have stay: they may be the application's own.`

// checkOptions are the flags of check.
type checkOptions struct {
	user   string
	repair bool
	strict bool
	output *cli.Output
}

func newCheck(env cli.Env) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compares every user of the roll with every target",
		Long:  checkHelp,
		Args:  cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("user") && o.user == "" {
				return cli.Usagef("--user: write an id or an e-mail")
			}
			s, err := env.Load(cmd)
			if err != nil {
				return err
			}
			return env.OnDatabase(s, func(db *postgres.DB) error { return o.run(cmd.Context(), env, db) })
		},
	}
	cmd.Flags().StringVar(&o.user, "user", "", "check one user only, by `ID` or e-mail, or one organization or membership")
	_ = cmd.RegisterFlagCompletionFunc("user", operate.UserID(env)) // fails for an unknown flag
	cmd.Flags().BoolVar(&o.repair, "repair", false, "settle who is out of step, then count again")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "exit 1 also for rows that the roll does not have")
	o.output = cli.AddOutput(cmd)
	return cmd
}

func (o checkOptions) run(ctx context.Context, env cli.Env, db *postgres.DB) error {
	finish := env.Waiting("checking the targets")
	_, err := app.Faults(ctx, db) // findings put targets out of service, which the result says
	finish()
	if err != nil {
		return err
	}
	if o.repair {
		unwatch := db.Watch().Start(ctx)
		defer unwatch()
	}
	if o.user != "" {
		return checkUser(ctx, env, db, o)
	}
	return checkAll(ctx, env, db, o)
}

// checkAll counts all users.
func checkAll(ctx context.Context, env cli.Env, db *postgres.DB, o checkOptions) error {
	show, finish := env.Bar("checking")
	report, err := db.Audit().Report(ctx, audit.Options{Repair: o.repair, Progress: show})
	finish()
	if err != nil {
		return err
	}
	err = o.output.Write(env.Stdout, report, func(to io.Writer) error { return writeReport(to, report, o.repair) })
	if err != nil {
		return err
	}
	return verdict(report, o)
}

// verdict says in a sentence what is to be done; nil where all is well.
func verdict(report *audit.Report, o checkOptions) error {
	var users, rows, out int64
	for _, t := range report.Tallies {
		users += t.OutOfStep()
		if t.Outage != "" {
			out++
		}
	}
	if o.strict {
		rows = report.Unowned()
	}
	switch {
	case users > 0 && o.repair:
		return fmt.Errorf("still out of step: %d; %s says why", users, explaining(report))
	case users > 0 && out == 0:
		return fmt.Errorf("out of step: %d; rollcall check --repair settles all but what a table still refuses", users)
	case users > 0:
		return fmt.Errorf("out of step: %d", users)
	case out > 0:
		return errors.New("not every target could be checked; the table above says why")
	case rows > 0:
		return fmt.Errorf("rows that the roll does not have: %d (--strict); the lines above say what to do", rows)
	}
	return nil
}

// explaining is the command that says why the first of those who are named is out of step.
func explaining(report *audit.Report) string {
	id := "ID"
	switch {
	case len(report.Examples) > 0:
		id = report.Examples[0].ID
	case len(report.Parked) > 0:
		id = report.Parked[0].ID
	}
	return "rollcall check --user " + event.Printable(id)
}

// writeReport writes the table, and below it what needs words.
func writeReport(to io.Writer, report *audit.Report, repair bool) error {
	header, states := []string{"TARGET", "SOURCE"}, shownStates(report)
	for _, s := range states {
		header = append(header, strings.ToUpper(string(s)))
	}
	if repair {
		header = append(header, "REPAIRED")
	}
	lines := []string{strings.Join(header, "\t")}
	for _, t := range report.Tallies {
		lines = append(lines, strings.Join(cells(&t, states, repair), "\t"))
	}
	_, err := fmt.Fprintln(to, strings.Join(append(lines, remarks(report)...), "\n"))
	return err
}

// shownStates are the columns of the table; adoptions and what triggers decide have one only where there are some.
func shownStates(report *audit.Report) []audit.State {
	return slices.DeleteFunc(slices.Clone(audit.States), func(s audit.State) bool {
		return (s == audit.Adoptable || s == audit.Suppressed || s == audit.Rewritten) &&
			!slices.ContainsFunc(report.Tallies, func(t audit.Tally) bool { return t.Users[s] > 0 })
	})
}

func cells(t *audit.Tally, states []audit.State, repair bool) []string {
	line := []string{t.Target, cmp.Or(t.Source, "-")}
	for _, s := range states {
		users := strconv.FormatInt(t.Users[s], 10)
		if t.Outage != "" && s != audit.Parked {
			users = "-"
		}
		line = append(line, users)
	}
	if repair {
		line = append(line, strconv.FormatInt(t.Repaired, 10))
	}
	return line
}

// remarks are what the table can't say, a line each.
func remarks(report *audit.Report) []string {
	var lines []string
	said := map[string]bool{}
	for _, t := range report.Tallies {
		if t.Outage != "" && !said[t.Target] {
			said[t.Target] = true
			lines = append(lines, fmt.Sprintf("%s is out of service: %s", t.Target, t.Outage))
		}
		if t.Unowned > 0 {
			lines = append(lines, fmt.Sprintf("%s: extra rows that the roll does not have: %d; if the provider has them, run rollcall reconcile %s, else they are the application's own; --repair leaves them alone, and only --strict counts them",
				t.Target, t.Unowned, cmp.Or(t.Source, "SOURCE")))
		}
	}
	for _, o := range report.Overruled {
		lines = append(lines, event.Printable(overruledLine(&o)))
	}
	for _, e := range report.Examples {
		lines = append(lines, event.Printable(fmt.Sprintf("%s: %s, such as %s of %s", e.Target, e.State, e.ID, e.Source)))
	}
	lines = append(lines, operate.ParkedLines(report.Parked)...)
	for _, r := range report.Refused {
		line := fmt.Sprintf("%s: user %s of %s can't be compared: %s", r.Target, r.ID, r.Source, r.Error)
		lines = append(lines, event.Printable(line))
	}
	return lines
}

// overruledLine is the line about what triggers of a table decide.
func overruledLine(o *audit.Overruled) string {
	does, remedy := "keeps the row from being written or removed", ""
	if o.State == audit.Rewritten {
		does = "gives " + strings.Join(o.Columns, ", ") + " another value than set"
		remedy = ": write the same expression in set, or leave the column to the trigger"
	}
	return fmt.Sprintf("%s: %s: %d, such as %s of %s; a trigger of the table %s: %s; --repair can't change that%s",
		o.Target, o.State, o.Users, o.ID, o.Source, does, strings.Join(o.Triggers, ", "), remedy)
}

// checkUser holds one user against every target.
func checkUser(ctx context.Context, env cli.Env, db *postgres.DB, o checkOptions) error {
	users, err := db.Audit().Users(ctx, o.user, audit.Options{Repair: o.repair})
	if errors.Is(err, audit.ErrNotInRoll) {
		return fmt.Errorf("%w; run rollcall reconcile SOURCE, or wait for the webhook", err)
	}
	if err != nil {
		return err
	}
	err = o.output.Write(env.Stdout, newCalledJSON(users), func(to io.Writer) error { return writeCalled(to, users) })
	if err != nil {
		return err
	}
	out := 0
	for _, u := range users {
		for _, s := range u.Statuses {
			if !s.InStep() {
				out++
			}
		}
	}
	if out > 0 {
		return fmt.Errorf("targets that are out of step: %d", out)
	}
	return nil
}

func writeCalled(to io.Writer, users []audit.User) error {
	var lines []string
	for _, u := range users {
		line := fmt.Sprintf("%s  %s  %s  version %s", u.ID, u.Source, cmp.Or(u.Email, "-"), u.Version.Format(time.RFC3339))
		if u.Deleted {
			line += "  deleted"
		}
		lines = append(lines, line)
		if len(u.Kept) > 0 {
			lines = append(lines, "the last known value is kept of "+strings.Join(u.Kept, ", ")+
				": what the provider said last can't be used; the log says why")
		}
		for _, s := range u.Statuses {
			lines = append(lines, sayStanding(&s, &u))
		}
		if len(u.Statuses) == 0 {
			lines = append(lines, "no target follows the "+u.Roll.Name+" of this source")
		}
	}
	for i, line := range lines {
		lines[i] = event.Printable(line)
	}
	_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
	return err
}

// sayStanding is a target's line about a user, or about a row of another roll.
func sayStanding(s *audit.Status, u *audit.User) string {
	if len(s.Triggers) > 0 {
		line := fmt.Sprintf("✓ %s (%s by trigger %s", s.Target, s.State, strings.Join(s.Triggers, ", "))
		if len(s.Columns) > 0 {
			line += ": " + strings.Join(s.Columns, ", ")
		}
		return line + ")"
	}
	if s.InStep() {
		return "✓ " + s.Target
	}
	what := string(s.State)
	switch {
	case s.State == "":
		what = "out of service: " + s.Problem
	case s.State == audit.Different && s.Problem != "":
		what = "can't be compared: " + s.Problem
	case s.State == audit.Different:
		what += ": " + strings.Join(s.Columns, ", ")
	case s.State == audit.Extra && u.Deleted:
		what += ": the " + u.Roll.One + " is deleted, but the row still exists"
	case s.State == audit.Extra:
		what += ": the " + u.Roll.One + " doesn't match where, but the row still exists"
	}
	if p := s.Parked; p != nil {
		when := "next " + p.RetryAt.UTC().Format(time.RFC3339)
		if p.GivenUp {
			when = "given up"
		}
		parked := fmt.Sprintf("parked since %s, attempts: %d, %s: %s", p.Since.UTC().Format(time.RFC3339), p.Attempts, when, p.Error)
		if s.State == audit.Parked {
			what = parked
		} else {
			what += "; " + parked
		}
	}
	return "✗ " + s.Target + ": " + what
}
