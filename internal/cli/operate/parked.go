package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/terminal"
)

const parkedHelp = `Lists what targets refuse for the moment: users, and where a target follows organisations or memberships,
those. What a target refuses in the same words is one group, with the first of it as an example; the largest groups
come first, 50 of a target.

--user chooses what is parked of one user, and of their memberships.

--output json prints one object, with parked: the groups, each with target, source, roll, users (how many), id and email
(masked) of the first, error, since (of the first), attempts (the most), next (when the first is tried again;
left out when all are given up) and given_up (how many are).`

const parkedRetryHelp = `Tries what is parked at once, also what was given up. What a target refuses again stays parked, and is
listed; its pauses go on.

Exits 1 when some are still parked. --output json prints one object: tried, and parked as rollcall parked does.`

const parkedGiveUpHelp = `Has what is parked tried no more, until a new event or rollcall parked retry. It stays listed.
Name a target, a user, or both.

--output json prints one object: given_up (how many).`

// parkedOptions are the arguments and flags of parked and the commands below it.
type parkedOptions struct {
	env    cli.Env
	user   string
	output *cli.Output
	filter audit.ParkedFilter // no ids for all
}

// newParkedCommand makes one of them.
func newParkedCommand(env cli.Env, cmd *cobra.Command, run func(*parkedOptions, context.Context, *postgres.DB) error) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = cli.OneArg("target", 0), env.Named(cli.TargetNames)
	o := &parkedOptions{env: env}
	cmd.Flags().StringVar(&o.user, "user", "", "only what is parked of a user, by `ID` or e-mail")
	_ = cmd.RegisterFlagCompletionFunc("user", parkedUserID(env)) // fails for an unknown flag
	o.output = cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("user") && o.user == "" {
			return cli.Usagef("--user: write an id or an e-mail")
		}
		s, err := env.Load(cmd)
		if err != nil {
			return err
		}
		if cmd.Name() == "give-up" && len(args) == 0 && o.user == "" {
			return cli.Usagef("name the target, or the user with --user")
		}
		o.filter = audit.ParkedFilter{Targets: cli.TargetNames(s.Config), Groups: 50}
		if len(args) == 1 {
			if err := named("target", args[0], o.filter.Targets); err != nil {
				return err
			}
			o.filter.Targets = args
		}
		return env.OnDatabase(s, func(db *postgres.DB) error {
			err := db.Migrated(cmd.Context())
			if err == nil && o.user != "" {
				o.filter.Users, err = userIDs(cmd.Context(), db, o.user)
			}
			if err != nil {
				return err
			}
			return run(o, cmd.Context(), db)
		})
	}
	return cmd
}

func newParked(env cli.Env) *cobra.Command {
	list := newParkedCommand(env, &cobra.Command{
		Use: "parked [TARGET]", Short: "Lists what targets refuse, grouped by the reason", Long: parkedHelp,
	}, (*parkedOptions).list)
	list.AddCommand(newParkedCommand(env, &cobra.Command{
		Use: "retry [TARGET]", Short: "Tries what is parked at once", Long: parkedRetryHelp,
	}, (*parkedOptions).retry), newParkedCommand(env, &cobra.Command{
		Use: "give-up [TARGET]", Short: "Has what is parked tried no more", Long: parkedGiveUpHelp,
	}, (*parkedOptions).giveUp))
	return list
}

func (o *parkedOptions) list(ctx context.Context, db *postgres.DB) error {
	groups, err := db.Audit().ParkedGroups(ctx, o.filter)
	if err != nil {
		return err
	}
	result := parkedResult{Parked: groups}
	return o.output.Write(o.env.Stdout, result, result.text)
}

// parkedResult is what parked and parked retry print.
type parkedResult struct {
	Tried  *int64              `json:"tried,omitempty"`
	Parked []audit.ParkedGroup `json:"parked"`
}

func (r *parkedResult) text(to io.Writer) error {
	var lines []string
	if r.Tried != nil {
		lines = append(lines, fmt.Sprintf("tried %s", cli.Grouped(*r.Tried)))
	}
	if len(r.Parked) == 0 {
		lines = append(lines, "nothing is parked")
	}
	for i := range r.Parked {
		lines = append(lines, groupLines(&r.Parked[i])...)
	}
	_, err := fmt.Fprintln(to, strings.Join(lines, "\n"))
	return err
}

// groupLines are a group within the columns of a terminal.
func groupLines(g *audit.ParkedGroup) []string {
	noun := g.Roll
	if g.Users == 1 {
		noun = strings.TrimSuffix(noun, "s")
	}
	head := fmt.Sprintf("%s: %s %s of %s", g.Target, cli.Grouped(g.Users), noun, g.Source)
	if g.GivenUp > 0 {
		head += fmt.Sprintf(", given up: %s", cli.Grouped(g.GivenUp))
	}
	who := "  such as " + g.ID
	if g.Email != "" {
		who += " (" + g.Email + ")"
	}
	when := fmt.Sprintf("  since %s, attempts: %d", shownTime(g.Since), g.Attempts)
	if !g.RetryAt.IsZero() {
		when += ", next " + shownTime(g.RetryAt)
	}
	lines := []string{head, oneLine(who), when}
	return append(lines, terminal.Fill("  "+oneLine(g.Error), 2)...)
}

// retry checks the targets, tries, and shows what is left.
func (o *parkedOptions) retry(ctx context.Context, db *postgres.DB) error {
	env, f := o.env, &o.filter
	finish := env.Waiting("trying what is parked")
	defer finish()
	faults, err := app.Faults(ctx, db)
	if err != nil {
		return err
	}
	for _, fault := range faults {
		env.Complain("out of service, nothing of it can be tried: %s", fault)
	}
	unwatch := db.Watch().Start(ctx)
	defer unwatch()
	var tried int64
	for _, t := range db.Targets().All() { // parents' tables first
		if !slices.Contains(f.Targets, t.Name) {
			continue
		}
		n, err := db.Parked().Retry(ctx, t.Name, f.Users)
		tried += n
		if err != nil {
			return err
		}
	}
	groups, err := db.Audit().ParkedGroups(ctx, *f)
	if err != nil {
		return err
	}
	finish()
	result := parkedResult{Tried: &tried, Parked: groups}
	if err := o.output.Write(env.Stdout, result, result.text); err != nil {
		return err
	}
	if len(groups) > 0 {
		return errors.New("some are still parked; correct the table or the user, and try again")
	}
	return nil
}

// giveUp gives up what the filter chooses.
func (o *parkedOptions) giveUp(ctx context.Context, db *postgres.DB) error {
	var given int64
	for _, name := range o.filter.Targets {
		n, err := db.Parked().GiveUp(ctx, name, o.filter.Users)
		given += n
		if err != nil {
			return err
		}
	}
	result := struct {
		GivenUp int64 `json:"given_up"`
	}{given}
	return o.output.Write(o.env.Stdout, result, func(to io.Writer) error {
		_, err := fmt.Fprintf(to, "given up: %s\n", cli.Grouped(given))
		return err
	})
}

// ParkedLines name who is parked and why, and say what helps. They stand wherever a number of parked users
// does.
func ParkedLines(groups []audit.ParkedGroup) []string {
	var lines []string
	for _, g := range groups {
		who := g.ID
		if g.Email != "" {
			who += " (" + g.Email + ")"
		}
		when := "given up"
		if !g.RetryAt.IsZero() {
			when = "next try " + g.RetryAt.Format(time.RFC3339)
		}
		lines = append(lines, event.Printable(fmt.Sprintf("%s: parked: %d, such as %s of %s: %s; %s",
			g.Target, g.Users, who, g.Source, g.Error, when)))
	}
	if len(lines) > 0 {
		lines = append(lines, "correct the table, or what it refuses; rollcall parked retry then tries all of them at once")
	}
	return lines
}
