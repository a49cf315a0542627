package operate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/cli"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/history"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/terminal"
)

const userHelp = `Shows all that Rollcall knows of a user: the row of the roll, every target's row beside what it should be, why
it is parked, the user's memberships with their rows, and the newest events. Several users may have an e-mail
address; all are shown. Personal data are masked unless --reveal.

In the rows of targets, columns that differ have both values: what is there, and behind "should be" what set says.
Columns of on_insert are the application's own.

Exits 1 when the roll has no such user, and when a target is out of step.

--output json prints one object, with users: each with
  source, id, version, deleted   the roll's row; record has its columns, null for a deleted user
  erased_at                      when their personal data was erased; left out if it was not
  targets                        each with target, state (as in rollcall check), problem, parked, and columns:
                                 name, is, should where something is said of it, differs
  memberships                    each with id, organization, name, role, version, deleted, targets
  events                         the newest, as in rollcall events; left out with --events 0`

// userOptions are the flags of user.
type userOptions struct {
	reveal bool
	events int
	output *cli.Output
}

func newUser(env cli.Env) *cobra.Command {
	var o userOptions
	cmd := &cobra.Command{
		Use:               "user ID|EMAIL",
		Short:             "Shows all that is known of a user",
		Long:              userHelp,
		Args:              cli.OneArg("user, by id or e-mail", 1),
		ValidArgsFunction: oneUserID(env),
	}
	cmd.Flags().BoolVar(&o.reveal, "reveal", false, "show personal data")
	cmd.Flags().IntVar(&o.events, "events", 10, "how many of the newest events to show")
	o.output = cli.AddOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.events < 0 || o.events > mostEvents {
			return cli.Usagef("--events: write a number from 0 to %d", mostEvents)
		}
		s, err := env.Load(cmd)
		if err != nil {
			return err
		}
		return env.OnDatabase(s, func(db *postgres.DB) error { return o.run(cmd.Context(), env, db, args[0]) })
	}
	return cmd
}

// shownUser is a user as the command shows them.
type shownUser struct {
	Source      string          `json:"source"`
	ID          string          `json:"id"`
	Version     time.Time       `json:"version"`
	Deleted     bool            `json:"deleted"`
	ErasedAt    *time.Time      `json:"erased_at,omitempty"`
	Record      json.RawMessage `json:"record"` // null for a deleted user
	Kept        []string        `json:"kept,omitempty"`
	Targets     []shownTarget   `json:"targets"`
	Memberships []shownMember   `json:"memberships"`
	Events      []history.Event `json:"events,omitzero"` // nil when none are asked for

	record catalog.Row
}

// shownTarget is how a target has a row.
type shownTarget struct {
	Target   string        `json:"target"`
	State    audit.State   `json:"state,omitempty"`
	Problem  string        `json:"problem,omitempty"`
	Triggers []string      `json:"triggers,omitempty"`
	Parked   *shownParked  `json:"parked,omitempty"`
	Columns  []shownColumn `json:"columns,omitempty"`

	status *audit.Status
}

type shownParked struct {
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	RetryAt  time.Time `json:"retry_at"`
	GivenUp  bool      `json:"given_up"`
	Error    string    `json:"error"`
}

type shownColumn struct {
	Name    string          `json:"name"`
	Is      json.RawMessage `json:"is"`
	Should  json.RawMessage `json:"should,omitempty"`
	Differs bool            `json:"differs,omitempty"`
}

// shownMember is a membership of a user.
type shownMember struct {
	ID           string        `json:"id"`
	Organization string        `json:"organization"`
	Name         string        `json:"name,omitempty"`
	Role         string        `json:"role,omitempty"`
	Version      time.Time     `json:"version"`
	Deleted      bool          `json:"deleted"`
	Targets      []shownTarget `json:"targets"`
}

func (o *userOptions) run(ctx context.Context, env cli.Env, db *postgres.DB, who string) error {
	finish := env.Waiting("checking the targets")
	defer finish()
	if _, err := app.Faults(ctx, db); err != nil { // findings put targets out of service, which the result says
		return err
	}
	options := audit.Options{Rows: true, Reveal: o.reveal}
	users, err := db.Audit().Users(ctx, who, options)
	if errors.Is(err, audit.ErrNotInRoll) {
		return fmt.Errorf("%w; run rollcall reconcile SOURCE, or wait for the webhook", err)
	}
	if err != nil {
		return err
	}
	var result struct {
		Users []shownUser `json:"users"`
	}
	out := 0
	for i := range users {
		u, err := o.show(ctx, db, &users[i], options)
		if err != nil {
			return err
		}
		out += u.outOfStep()
		result.Users = append(result.Users, *u)
	}
	finish()
	err = o.output.Write(env.Stdout, result, func(to io.Writer) error {
		for i := range result.Users {
			if err := result.Users[i].text(to); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && out > 0 {
		err = fmt.Errorf("targets that are out of step: %d", out)
	}
	return err
}

// show reads what the roll and the events know of a user.
func (o *userOptions) show(ctx context.Context, db *postgres.DB, u *audit.User, options audit.Options) (*shownUser, error) {
	shown := &shownUser{Source: u.Source, ID: u.ID, Version: u.Version, Deleted: u.Deleted, ErasedAt: u.ErasedAt, Kept: u.Kept,
		Targets: shownTargets(u.Statuses), Memberships: []shownMember{}}
	m, err := db.Roll().Member(ctx, roll.Name{Roll: &event.Users, Source: u.Source, ID: u.ID})
	if err != nil {
		return nil, err
	}
	if shown.record, err = catalog.ReadRow(string(m.Record)); err != nil {
		return nil, err
	}
	for i := range shown.record {
		v := &shown.record[i]
		if f := event.Users.Field(v.Column); f != nil && f.Masked && !o.reveal {
			v.JSON = event.MaskJSON(v.JSON)
		}
	}
	shown.Record = shown.record.Object()
	members, err := db.Audit().Members(ctx, u.Source, u.ID, options)
	if err != nil {
		return nil, err
	}
	for i := range members {
		m := &members[i]
		shown.Memberships = append(shown.Memberships, shownMember{m.ID, m.Organization, m.Name, m.Role, m.Version, m.Deleted, shownTargets(m.Statuses)})
	}
	if o.events == 0 {
		return shown, nil
	}
	page, err := db.History().List(ctx, history.Filter{Sources: []string{u.Source}, Users: []string{u.ID}}, history.Paging{Limit: o.events})
	shown.Events = page.Events
	return shown, err
}

func shownTargets(statuses []audit.Status) []shownTarget {
	list := []shownTarget{}
	for i := range statuses {
		s := &statuses[i]
		t := shownTarget{Target: s.Target, State: s.State, Problem: s.Problem, Triggers: s.Triggers, Parked: (*shownParked)(s.Parked), status: s}
		for _, c := range s.Row {
			t.Columns = append(t.Columns, shownColumn(c))
		}
		list = append(list, t)
	}
	return list
}

func (u *shownUser) outOfStep() int {
	n := 0
	count := func(targets []shownTarget) {
		for i := range targets {
			if !targets[i].status.InStep() {
				n++
			}
		}
	}
	count(u.Targets)
	for i := range u.Memberships {
		count(u.Memberships[i].Targets)
	}
	return n
}

func (u *shownUser) membershipLines() []string {
	if len(u.Memberships) == 0 {
		return nil
	}
	lines := []string{"memberships"}
	for i := range u.Memberships {
		m := &u.Memberships[i]
		line := fmt.Sprintf("  %s %s, role %s", m.Organization, m.Name, cmp.Or(m.Role, "none"))
		if m.Deleted {
			line += ", ended"
		}
		lines = append(lines, line+": "+m.ID)
		for _, line := range targetLines(m.Targets) {
			lines = append(lines, "  "+line)
		}
	}
	return lines
}

// eventLines are nothing where no events were asked for.
func (u *shownUser) eventLines() []string {
	if u.Events == nil {
		return nil
	}
	lines := []string{"events"}
	for i := range u.Events {
		e := &u.Events[i]
		lines = append(lines, fmt.Sprintf("  %s  %s  %s", shownTime(e.ReceivedAt), e.Outcome, e.Type), "    "+e.ID)
	}
	if len(u.Events) == 0 {
		lines = append(lines, "  none")
	}
	return lines
}

func (u *shownUser) text(to io.Writer) error {
	head := fmt.Sprintf("%s of %s, version %s", u.ID, u.Source, shownTime(u.Version))
	if u.Deleted {
		head += ", deleted"
	}
	if u.ErasedAt != nil {
		head += ", erased " + shownTime(*u.ErasedAt)
	}
	lines := []string{head}
	for _, v := range u.record {
		if value := string(v.JSON); value != "null" && v.Column != "id" && v.Column != "source" {
			lines = append(lines, fmt.Sprintf("  %s: %s", v.Column, shownJSON(v.JSON)))
		}
	}
	if len(u.Kept) > 0 {
		lines = append(lines, "  the last known value is kept of "+strings.Join(u.Kept, ", "))
	}
	lines = append(lines, "targets")
	lines = append(lines, targetLines(u.Targets)...)
	lines = append(append(lines, u.membershipLines()...), u.eventLines()...)
	var folded []string
	for _, line := range lines {
		folded = append(folded, terminal.Fill(oneLine(line), len(line)-len(strings.TrimLeft(line, " "))+2)...)
	}
	_, err := fmt.Fprintln(to, strings.Join(folded, "\n"))
	return err
}

// targetLines are a line for each target, and below it the row.
func targetLines(targets []shownTarget) []string {
	var lines []string
	for i := range targets {
		t := &targets[i]
		mark, state := "✓", string(t.State)
		if !t.status.InStep() {
			mark = "✗"
		}
		line := fmt.Sprintf("  %s %s: %s", mark, t.Target, cmp.Or(state, t.Problem, "no row, as it should be"))
		if state != "" && t.Problem != "" {
			line += ": " + t.Problem
		}
		if len(t.Triggers) > 0 {
			line += " by trigger " + strings.Join(t.Triggers, ", ")
		}
		lines = append(lines, line)
		if p := t.Parked; p != nil {
			when := "next " + shownTime(p.RetryAt)
			if p.GivenUp {
				when = "given up"
			}
			lines = append(lines, fmt.Sprintf("      since %s, attempts: %d, %s", shownTime(p.Since), p.Attempts, when), "      "+p.Error)
		}
		for _, c := range t.Columns {
			line := fmt.Sprintf("      %s: %s", c.Name, shownJSON(c.Is))
			if c.Differs {
				line += ", should be " + shownJSON(c.Should)
			}
			lines = append(lines, line)
		}
	}
	if len(targets) == 0 {
		lines = append(lines, "  none follows this")
	}
	return lines
}
