package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/postgres"
)

const checkHelp = `Calls the roll: holds every user of every source against every target that follows him, and
counts those who are

  present    his row is as the roll says; columns of on_insert are the application's own
  missing    he has no row
  extra      he is gone and his row is not; or a row is of no user of the roll
  different  a column of set has another value
  parked     the target refused him; rollcall.parked says why

The counts are kept for the metrics. Exits 1 when anything but present was found.

--user checks one user, by id or e-mail, and says what is wrong.

--repair settles whoever is out of step, as his next event would, and counts again. Rows of
no user of the roll stay: they may be the application's own.`

// checkOptions are the flags of check.
type checkOptions struct {
	user   string
	repair bool
	output *output
}

func newCheck(w world) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Holds every user of the roll against every target",
		Long:  checkHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("user") && o.user == "" {
				return errUsage{errors.New("--user: write an id or an e-mail")}
			}
			s, err := load(cmd, w)
			if err != nil {
				return err
			}
			db, err := s.open(w)
			if err != nil {
				return err
			}
			defer closeSoon(db)
			if _, err := ready(cmd.Context(), db); err != nil { // findings put targets out of service, which the result says
				return err
			}
			if o.repair {
				unwatch := db.StartWatch(cmd.Context())
				defer unwatch()
			}
			if o.user != "" {
				return checkUser(cmd.Context(), w, db, o)
			}
			return checkAll(cmd.Context(), w, db, o)
		},
	}
	cmd.Flags().StringVar(&o.user, "user", "", "check one user only, by `ID` or e-mail")
	cmd.Flags().BoolVar(&o.repair, "repair", false, "settle who is out of step, then count again")
	o.output = addOutput(cmd)
	return cmd
}

// checkAll counts everybody.
func checkAll(ctx context.Context, w world, db *postgres.DB, o checkOptions) error {
	show, finish := bar(w, "checking")
	census, err := db.Census(ctx, postgres.CensusOptions{Repair: o.repair, Progress: show})
	finish()
	if err != nil {
		return err
	}
	err = o.output.write(w.stdout, newCensusJSON(census), func(to io.Writer) error { return writeCensus(to, census, o.repair) })
	if err != nil || census.InStep() {
		return err
	}
	return verdict(census, o.repair)
}

// verdict says in a sentence what is to be done.
func verdict(census *postgres.Census, repaired bool) error {
	var settleable, strangers, out int64
	for _, t := range census.Tallies {
		settleable, strangers = settleable+t.OutOfStep()-t.Strangers, strangers+t.Strangers
		if t.Outage != "" {
			out++
		}
	}
	switch {
	case settleable > 0 && repaired:
		return fmt.Errorf("still out of step: %d; rollcall check --user ID says why", settleable+strangers)
	case settleable > 0 && out == 0:
		return fmt.Errorf("out of step: %d; rollcall check --repair settles all but rows of no user, and whom a table still refuses", settleable+strangers)
	case settleable+strangers > 0:
		return fmt.Errorf("out of step: %d", settleable+strangers)
	}
	return errors.New("not every target could be checked")
}

// writeCensus writes the table, and below it what needs words.
func writeCensus(to io.Writer, census *postgres.Census, repair bool) error {
	header := []string{"TARGET", "SOURCE"}
	for _, s := range postgres.States {
		header = append(header, strings.ToUpper(string(s)))
	}
	if repair {
		header = append(header, "REPAIRED")
	}
	lines := []string{strings.Join(header, "\t")}
	for _, t := range census.Tallies {
		lines = append(lines, strings.Join(cells(&t, repair), "\t"))
	}
	_, err := fmt.Fprintln(to, strings.Join(append(lines, remarks(census)...), "\n"))
	return err
}

func cells(t *postgres.Tally, repair bool) []string {
	line := []string{t.Target, orDash(t.Source)}
	for _, s := range postgres.States {
		users := strconv.FormatInt(t.Users[s], 10)
		if t.Outage != "" && s != postgres.Parked {
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
func remarks(census *postgres.Census) []string {
	var lines []string
	said := map[string]bool{}
	for _, t := range census.Tallies {
		if t.Outage != "" && !said[t.Target] {
			said[t.Target] = true
			lines = append(lines, fmt.Sprintf("%s is out of service: %s", t.Target, t.Outage))
		}
		if t.Strangers > 0 {
			lines = append(lines, fmt.Sprintf("%s: extra rows of no user of the roll: %d; if they are users that the roll doesn't know yet, run rollcall reconcile %s, else they are the application's own; --repair leaves them alone",
				t.Target, t.Strangers, cmp.Or(t.Source, "SOURCE")))
		}
	}
	for _, e := range census.Examples {
		lines = append(lines, printable(fmt.Sprintf("%s: %s, such as %s of %s", e.Target, e.State, e.ID, e.Source)))
	}
	for _, r := range census.Refused {
		lines = append(lines, printable(fmt.Sprintf("%s: user %s of %s can't be compared: %s", r.Target, r.ID, r.Source, r.Error)))
	}
	return lines
}

// checkUser holds one user against every target.
func checkUser(ctx context.Context, w world, db *postgres.DB, o checkOptions) error {
	users, err := db.Call(ctx, o.user, postgres.CensusOptions{Repair: o.repair})
	if errors.Is(err, postgres.ErrNotInRoll) {
		return fmt.Errorf("%w; run rollcall reconcile SOURCE, or wait for his webhook", err)
	}
	if err != nil {
		return err
	}
	err = o.output.write(w.stdout, newCalledJSON(users), func(to io.Writer) error { return writeCalled(to, users) })
	if err != nil {
		return err
	}
	out := 0
	for _, u := range users {
		for _, s := range u.Standings {
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

func writeCalled(to io.Writer, users []postgres.Called) error {
	for _, u := range users {
		line := fmt.Sprintf("%s  %s  %s  version %s", u.ID, u.Source, orDash(u.Email), u.Version.Format(time.RFC3339))
		if u.Deleted {
			line += "  deleted"
		}
		if _, err := fmt.Fprintln(to, printable(line)); err != nil {
			return err
		}
		for _, s := range u.Standings {
			if _, err := fmt.Fprintln(to, printable(sayStanding(&s, u.Deleted))); err != nil {
				return err
			}
		}
		if len(u.Standings) == 0 {
			if _, err := fmt.Fprintln(to, "no target follows this source"); err != nil {
				return err
			}
		}
	}
	return nil
}

// sayStanding is a target's line about a user.
func sayStanding(s *postgres.Standing, deleted bool) string {
	if s.InStep() {
		return "✓ " + s.Target
	}
	what := string(s.State)
	switch {
	case s.State == "":
		what = "out of service: " + s.Problem
	case s.State == postgres.Different && s.Problem != "":
		what = "can't be compared: " + s.Problem
	case s.State == postgres.Different:
		what += ": " + strings.Join(s.Columns, ", ")
	case s.State == postgres.Extra && deleted:
		what += ": the user is deleted, his row is there"
	case s.State == postgres.Extra:
		what += ": the user doesn't match where, his row is there"
	}
	if p := s.Parked; p != nil {
		when := "next " + p.RetryAt.UTC().Format(time.RFC3339)
		if p.GivenUp {
			when = "given up"
		}
		parked := fmt.Sprintf("parked since %s, attempts: %d, %s: %s", p.Since.UTC().Format(time.RFC3339), p.Attempts, when, p.Error)
		if s.State == postgres.Parked {
			what = parked
		} else {
			what += "; " + parked
		}
	}
	return "✗ " + s.Target + ": " + what
}
